"""Decides one candidate, by exploring it until its first anomaly."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from zephyr_lab.errors import BadInput, LabError, ServerLost, ServerUnavailable
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Enough
from zephyr_lab.explore.verdict import Verdict, VerdictKind
from zephyr_lab.functions.explorer import FunctionExplorer
from zephyr_lab.hunt.by_key import Untold
from zephyr_lab.hunt.candidates import Candidate
from zephyr_lab.options import RUN_OPTIONS
from zephyr_lab.schedule.faults import Fault, fault_of, is_expiry
from zephyr_lab.schedule.transcript import Result, Transcript

FORMS = (".html", ".spec", ".sql", ".py")
"""Of the files that a counterexample is exported to, by suffix."""

NOT_HERE = (BadInput, ServerLost, ServerUnavailable)
"""Errors that end a hunt: they concern all pairs."""


class Explores(Protocol):
    """What explores: a lab, as far as a hunt needs one."""

    @property
    def explore(self) -> Callable[..., Exploration]: ...
    @property
    def replay(self) -> Callable[..., Verdict]: ...
    @property
    def function_explorer(self) -> Callable[..., FunctionExplorer]: ...


class Kind(StrEnum):
    """What is known of some operations. `aborts`: no anomaly, and the server aborts one of them in some schedules."""

    SAFE = "safe"
    RACES = "races"
    ABORTS = "aborts"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Finding:
    """A schedule that shows a race. `verdict` compares its outcome with those of the serial orders, as text.

    `places` are the lines that asked something in it, such as `shop.py:41`, those of the pattern first; `transcript` is
    in the form for JSON, observed where that was possible. `exports` says which files show it to others, and what the
    checker finds in its history.
    """

    schedule: str
    timeline: str
    verdict: str
    explanation: tuple[str, ...]
    places: tuple[str, ...]
    transcript: Mapping[str, Any] = field(repr=False)
    exports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """`schedules` were run in so many `seconds`; `why` says what the kind follows from.

    `pattern` is '' for operations that are independent. `ran_out`: the time did; `interrupted`: by Ctrl-C; `failed`: an
    error of the lab's ended the exploration.
    """

    operations: tuple[str, ...]
    kind: Kind
    why: str
    pattern: str = ""
    prefix: tuple[str, ...] = ()
    schedules: int = 0
    seconds: float = 0.0
    finding: Finding | None = None
    ran_out: bool = False
    interrupted: bool = False
    failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The form for JSON."""
        said = asdict(self)
        for name in ("ran_out", "interrupted", "failed"):
            del said[name]
        return {**said, "kind": str(self.kind), "seconds": round(self.seconds, 3)}


def decide(
    lab: Explores, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], seconds: float | None
) -> Decision:
    """Explores `sessions`, with `options` as of `Explores.explore`, for at most so many seconds.

    `options` may also have `export`, a folder for the files that show a race to others, and `history`, one for its
    history.

    Raises what concerns all pairs: BadInput, ServerLost, ServerUnavailable.
    """
    began = time.monotonic()
    folders = {name: options.get(name) for name in ("export", "history")}
    options = {name: one for name, one in options.items() if name not in folders}
    asked = {**options, "may_raise": True, "budget": seconds, "on_progress": _until_the_first}
    try:
        found = lab.explore(sessions, **asked)
        kind, why = _kind_of(found, sessions, candidate.pattern, is_tested=bool(options.get("may_raise")))
        finding = _finding(lab, candidate, sessions, options, found) if kind is Kind.RACES else None
        if finding and (folder := folders["export"]):
            finding = replace(finding, exports=_exported(candidate, found, folder))
        if finding and (folder := folders["history"]):
            said = _history(lab, candidate, sessions, options, found, folder)
            finding = replace(finding, exports=(*finding.exports, said))
    except NOT_HERE:
        raise
    except LabError as error:
        spent = time.monotonic() - began
        return replace(undecided(candidate, str(error)), seconds=spent, failed=True)
    ran_out = kind is Kind.UNDECIDED and not (found.complete or found.run.undecided or found.unordered)
    return Decision(
        candidate.operations, kind, why, _pattern(candidate, finding), candidate.prefix, found.schedules,
        time.monotonic() - began, finding, ran_out and not found.interrupted, found.interrupted,
    )  # fmt: skip


def _pattern(candidate: Candidate, finding: Finding | None) -> str:
    """That of the candidate, unless what was found has a fault in it, or a step of the clock."""
    words = finding.schedule.split() if finding else []
    faults = {fault for fault in map(fault_of, words) if fault}
    if faults - {Fault.TIMEOUT}:
        return "not-atomic"
    return "expiry" if faults or any(map(is_expiry, words)) else candidate.pattern


def _until_the_first(found: Exploration) -> None:
    if found.anomalous or found.violation:
        raise Enough


_TRUST = (
    "they share no row and no key: if the service keeps nothing in memory that its requests share, reduction=True "
    "(--reduction) takes them for independent"
)


def _kind_of(found: Exploration, sessions: Mapping[str, Any], pattern: str, *, is_tested: bool) -> tuple[Kind, str]:
    """What an exploration shows, and why; a search that was not complete shows nothing but a race."""
    if found.anomalous:
        return Kind.RACES, "an outcome that no serial order gives"
    if found.violation:
        return Kind.RACES, "the invariant is violated"
    if found.run.undecided:
        return Kind.UNDECIDED, "; ".join(found.undecided_because)
    if not found.complete:
        run = f"{found.schedules:,} schedule{'s' * (found.schedules != 1)} run, not all, and none of them anomalous"
        more = [one for one in (found.unordered, _TRUST if pattern == "memory" else "") if one]
        return Kind.UNDECIDED, "; ".join([run, *more])
    raised = found.raised_only()
    if not is_tested and raised.keys() == sessions.keys():
        texts = sorted({text for some in raised.values() for text in some})
        return (
            Kind.UNDECIDED,
            f"nothing was tested: in every schedule they raised {' or '.join(texts)}; give a setup for them",
        )
    unseen = f"; used, and not compared: {', '.join(found.not_compared)}" if found.not_compared else ""
    if found.aborted:
        states = sorted({state for _, _, aborted in found.outcomes for _, state in aborted})
        return Kind.ABORTS, f"{', '.join(states)}, and no anomaly in {found.scope()}{unseen}"
    return Kind.SAFE, f"no anomaly in {found.scope()}{unseen}"


def _finding(
    lab: Explores, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], found: Exploration
) -> Finding:
    if found.counterexample:
        verdict, explanation = found.counterexample.verdict, found.explanation
        observed = _observed(found) or found.counterexample.transcript
    else:
        assert found.violation
        verdict = lab.replay(sessions, found.violation, **_of_one_run(options))
        observed, explanation = verdict.transcript, ()
        if verdict.kind is VerdictKind.PREVENTED:
            explanation = ("a serial order violates the invariant, too: the operations do, not their order",)
    shown, _ = verdict.of_what_differs()
    places = dict.fromkeys([*candidate.places, *(one.where for one in shown.transcript.events if one.where)])
    return Finding(
        shown.transcript.schedule, str(shown.transcript), str(shown), explanation, tuple(places), observed.to_dict()
    )


def _exported(candidate: Candidate, found: Exploration, folder: Path) -> tuple[str, ...]:
    """Writes the counterexample in each form that can hold it, named by the operations; says what came of each."""
    name = _file_name(candidate)
    if found.counterexample is None:
        return (f"not exported: {folder / name}: the invariant is violated, and only anomalies are written",)
    return tuple(found.counterexample.export_all(folder / f"{name}{suffix}" for suffix in FORMS))


def _file_name(candidate: Candidate) -> str:
    return "+".join(re.sub(r"[^\w.-]+", "-", one).strip("-.") or "operation" for one in candidate.operations)


def _history(
    lab: Explores, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], found: Exploration,
    folder: Path,
) -> str:  # fmt: skip
    """Writes the counterexample as a history, if all of it is known; says what the checker finds in it, or why not."""
    from zephyr_lab.hunt.history import SUFFIX, write  # the checker takes as long to import as all the rest

    path = folder / f"{_file_name(candidate)}{SUFFIX}"
    try:
        if found.counterexample is None:
            raise Untold("the invariant is violated, and only anomalies are written")
        observed = found.counterexample.observe()
        workspace = lab.function_explorer(sessions, **_of_one_run(options)).runner.workspace

        def execute(sql: str) -> list[Result]:
            return workspace.execute(sql, "what the setup has made")

        return f"history: {path}: {write(path, observed, execute)}"
    except NOT_HERE:
        raise
    except (Untold, LabError, OSError) as error:
        return f"no history: {path}: {error}; the hunt's own verdict stands"


def _observed(found: Exploration) -> Transcript | None:
    assert found.counterexample
    try:
        return found.counterexample.observe()
    except LabError:
        return None


def _of_one_run(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in RUN_OPTIONS if name in options}


def undecided(one: Candidate, why: str) -> Decision:
    """What is said of a candidate that nobody has explored."""
    more = f"; {_TRUST}" if one.pattern == "memory" else ""
    return Decision(one.operations, Kind.UNDECIDED, why + more, one.pattern, one.prefix)
