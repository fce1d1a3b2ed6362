"""An anomalous schedule that can be displayed, run again, and tried at stricter levels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from zephyr_lab.errors import RETRYABLE, LabError
from zephyr_lab.explore.pattern import REMEDIES, of_faults, pattern
from zephyr_lab.explore.verdict import Verdict, VerdictKind
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.transcript import End, Transcript

Write = Callable[["Counterexample", Path], None]


class Replay(Protocol):
    def __call__(self, schedule: str, *, observed: bool = False) -> Transcript: ...


class Counterexample(str):
    """A schedule such as `A B B A`; it is displayed as a timeline, and can be run again."""

    transcript: Transcript
    verdict: Verdict
    _again: Replay
    _write: Write

    @classmethod
    def of(cls, schedule: str, verdict: Verdict, again: Replay) -> Counterexample:
        """`verdict` is that of the first run; `again` runs it once more."""
        made = cls(schedule)
        made.transcript, made.verdict, made._again = verdict.transcript, verdict, again
        return made

    def written_by(self, write: Write) -> Counterexample:
        """The same, which `write` exports."""
        self._write = write
        return self

    def export(self, path: str | Path) -> Path:
        """Writes it for others: `.spec` for isolationtester and `zephyr-lab run`, `.sql` for windows of psql, `.py` as
        a pytest test, `.html` as a page to step through.

        It is run again for that, a `.spec` as it is written, so that it shows the same anomaly. Raises BadInput for
        another suffix, and for what such a file cannot hold, with the way on; ServerLost if the lab is closed.
        """
        self._write(self, Path(path))
        return Path(path)

    def export_all(self, paths: Iterable[Path]) -> list[str]:
        """Exports it to each path that can be written; what came of each, in words: `exported: lost.spec`."""
        told = []
        for path in paths:
            try:
                told.append(f"exported: {self.export(path)}")
            except LabError as error:
                told.append(f"not exported: {error}")
        return told

    def replay(self) -> Transcript:
        """Runs the same schedule once more. Raises Nondeterminism if it cannot be reproduced."""
        return self._again(self)

    def observe(self) -> Transcript:
        """As `replay`, with the rows committed after each step: for a stepper."""
        return self._again(self, observed=True)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.transcript._repr_mimebundle_()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # a copy in another process has no server


def stricter_than(isolation: IsolationLevel) -> list[IsolationLevel]:
    """The levels above; READ UNCOMMITTED is READ COMMITTED."""
    levels = [IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]
    return [level for level in levels if levels.index(level) > (levels.index(isolation) if isolation in levels else 0)]


def first_level_without(
    schedule: str, levels: Iterable[IsolationLevel], judged: Callable[[IsolationLevel], Verdict]
) -> str:
    """The first level at which this very schedule is refused or right, in words; '' if unknown."""
    for level in levels:
        try:
            verdict = judged(level)
        except LabError:  # for example, a session must wait there that does not at the lower level
            return ""
        if verdict.anomalous:
            continue
        # A refused session may have fewer turns: then the run is a prefix of the schedule.
        run, asked = verdict.transcript.schedule.split(), schedule.split()
        if run != asked[: len(run)]:
            return ""
        states = {
            one.sqlstate
            for one in verdict.transcript.transactions
            if one.end is End.ABORTED and one.sqlstate in RETRYABLE
        }
        if states:
            return f"at {level} this schedule is refused: {', '.join(sorted(states))}"
        return f"at {level} this schedule is right" if verdict.kind is VerdictKind.PREVENTED else ""
    return ""


def explain(
    schedule: str,
    isolation: IsolationLevel,
    observed: Callable[[], Transcript],
    judged: Callable[[IsolationLevel], Verdict] | None,
) -> tuple[str, ...]:
    """The name of an anomalous schedule's pattern with its remedies, and the level that refuses it, one per line.

    `observed` runs it once more, observed; `judged` runs it at another level, None if the sessions set theirs.
    """
    if lines := of_faults(schedule):
        return tuple(lines)
    # An interrupt, or a failing server, must not lose what was found.
    with contextlib.suppress(LabError, KeyboardInterrupt):
        if name := pattern(observed()):
            lines.append(f"{name}: {REMEDIES[name]}")
        if judged and (level := first_level_without(schedule, stricter_than(isolation), judged)):
            lines.append(level)
    return tuple(lines)
