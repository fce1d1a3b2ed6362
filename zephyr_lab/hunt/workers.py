"""Candidates decided one after another in this process, or by workers, each with a lab of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from zephyr_lab.errors import BadInput
from zephyr_lab.hunt.candidates import Candidate
from zephyr_lab.hunt.decision import NOT_HERE, Decision, Explores, decide
from zephyr_lab.wire.works import Request
from zephyr_lab.workers.kept import KEPT, Open
from zephyr_lab.workers.packed import packed, unpacked
from zephyr_lab.workers.pool import Workers


class Decides(Protocol):
    """Decides one of `jobs` candidates at a time; `take` waits for one, and gives what was decided, or went wrong."""

    @property
    def jobs(self) -> int: ...

    def give(
        self, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], seconds: float | None
    ) -> None: ...

    def take(self) -> tuple[Candidate, Decision | Exception]: ...


class InThisProcess:
    """In the lab of this process: `give` returns when it is decided."""

    jobs = 1

    def __init__(self, lab: Explores) -> None:
        self._lab = lab
        self._decided: deque[tuple[Candidate, Decision]] = deque()

    def give(
        self, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], seconds: float | None
    ) -> None:
        self._decided.append((candidate, decide(self._lab, candidate, sessions, options, seconds)))

    def take(self) -> tuple[Candidate, Decision]:
        return self._decided.popleft()


@dataclass
class Elsewhere:
    """By workers. `open_it` opens what `make_lab` makes a lab of, there; both are picklable.

    `is_chosen`: the executor is the caller's, so that what cannot travel is refused, and not decided here.
    """

    workers: Workers
    open_it: Open[Any]
    make_lab: Callable[[Any], Explores]
    is_chosen: bool
    _given: int = field(default=0, init=False)

    @property
    def jobs(self) -> int:
        return self.workers.number

    def give(
        self, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], seconds: float | None
    ) -> None:
        self._given += 1  # for what keeps results: a pair may be tried twice
        data = packed({"sessions": dict(sessions), "options": dict(options), "number": self._given}, "hunt with jobs=1")
        self.workers.give(candidate, decide_there, self.open_it, self.make_lab, candidate, data, seconds)

    def take(self) -> tuple[Candidate, Decision | Exception]:
        return self.workers.take()

    def why_not(self, operations: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        """Why they cannot be explored there; '' if they can. Raises BadInput instead if the executor was chosen."""
        if requests := [name for name, one in operations.items() if isinstance(one, Request)]:
            why = f"{requests[0]} is a request, and what it asks runs for this process only"
        else:
            try:
                packed({**operations, **options}, "or leave out executor=")
                return ""
            except BadInput as error:
                why = str(error)
        if self.is_chosen:
            raise BadInput(why)
        return why


def decide_there(
    open_it: Open[Any], make_lab: Callable[[Any], Explores], candidate: Candidate, data: bytes, seconds: float | None
) -> Decision | Exception:
    """In a worker. What concerns all pairs is given back, with its candidate, and not raised."""
    try:
        things = unpacked(data)
        with KEPT.opened(open_it) as opened:
            return decide(make_lab(opened), candidate, things["sessions"], things["options"], seconds)
    except NOT_HERE as error:
        return error
