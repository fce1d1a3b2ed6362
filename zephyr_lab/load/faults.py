"""Faults of a run as plain data: what is killed, stalled, locked, cut or slowed down, when, and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zephyr_lab.errors import BadInput
from zephyr_lab.options import LoadOptions

KILLED = ("postgres", "backend", "postmaster", "redis", "service")
STALLED = ("postgres", "redis", "service")
LOCKED = ("orders", "order_ids", "slots")
EVERY = 100
"""So many COMMITs are answered for one whose answer is lost."""

RESENT_SECONDS = 0.2
"""What a lost packet costs on Linux: the least time-out after which TCP sends again (RFC 6298, TCP_RTO_MIN)."""

_TIME = r"(\d+(?:\.\d+)?)s?"


@dataclass(frozen=True)
class Fault:
    """`kind` is kill, stall or lock; `at` and `lasts` in seconds, from the start of the run."""

    kind: str
    target: str
    at: float
    lasts: float = 0.0


@dataclass(frozen=True)
class Line:
    """The way between the service and PostgreSQL: `delay` in seconds each way, `loss` of packets from 0 to 1.

    Of `cut` COMMITs the answer to one is lost, with its connection; 0: of none.
    """

    delay: float = 0.0
    loss: float = 0.0
    cut: int = 0


@dataclass(frozen=True)
class Happened:
    """A fault that was brought about: from `began` to `gone`, in seconds of the run."""

    name: str
    began: float
    gone: float


def faults_of(incident: LoadOptions) -> list[Fault]:
    """Raises BadInput for what cannot be brought about in such a run."""
    asked = [("kill", incident.kill, KILLED, False), ("stall", incident.stall, STALLED, True),
             ("lock", incident.lock, LOCKED, True)]  # fmt: skip
    found = [_read(kind, text, targets, lasts) for kind, text, targets, lasts in asked if text is not None]
    for one in found:
        if one.at + one.lasts >= incident.seconds:
            raise BadInput(f"--{one.kind} {one.target}: it must be over within the run of {incident.seconds:g} seconds")
        if one.target == "service" and incident.through != "grpc":
            raise BadInput("the service is a process of its own through gRPC only: add --through grpc")
    return found


def _read(kind: str, text: str, targets: tuple[str, ...], lasts: bool) -> Fault:
    found = re.fullmatch(rf"(\w+)@{_TIME}" + (f":{_TIME}" if lasts else ""), text)
    if not found or found[1] not in targets:
        example = "5s:3s" if lasts else "5s"
        raise BadInput(f"--{kind} {text}: write {targets[-1]}@{example}; there are: {', '.join(targets)}")
    return Fault(kind, found[1], float(found[2]), float(found[3]) if lasts else 0.0)


def line_of(incident: LoadOptions) -> Line | None:
    """None: as it is. Raises BadInput."""
    if incident.network is None and incident.cut is None:
        return None
    made = {"delay": 0.0, "loss": 0.0}
    for part in (incident.network or "").split(",") if incident.network is not None else ():
        found = re.fullmatch(r"(delay)=(\d+(?:\.\d+)?)ms|(loss)=(\d+(?:\.\d+)?)%", part.strip())
        if not found:
            raise BadInput(f"--network {incident.network}: write delay=20ms,loss=1%, or one of these")
        made[found[1] or found[3]] = float(found[2]) / 1000 if found[1] else float(found[4]) / 100
    if made["delay"] > 5 or made["loss"] > 0.5:
        raise BadInput("--network: a delay of at most 5000ms, and a loss of at most 50%")
    cut = re.fullmatch(r"commit(?:/([1-9]\d{0,5}))?", incident.cut or "commit")
    if not cut:
        raise BadInput(f"--cut {incident.cut}: write commit, or commit/20 for one answer in twenty")
    return Line(**made, cut=0 if incident.cut is None else int(cut[1] or EVERY))
