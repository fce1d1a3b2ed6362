"""The results of many schedules of a case at a level, as data that can be added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from zephyr_lab.explore.counterexample import Counterexample
from zephyr_lab.explore.symmetry import Renaming
from zephyr_lab.explore.verdict import Outcome, VerdictKind, told_off
from zephyr_lab.schedule.transcript import AnswerKind, Result
from zephyr_lab.views.block import Line, block

Key = tuple[VerdictKind, Outcome, tuple[tuple[str, str], ...]]

_CUT_OFF = Outcome((("", ()),), ())  # of no schedule, unlike the outcome of steps that return and change nothing
_GRAVEST_FIRST = (
    VerdictKind.OCCURS, VerdictKind.UNDECIDED, VerdictKind.ABORTS_40001, VerdictKind.ABORTS_40P01, VerdictKind.ABORTS,
    VerdictKind.PREVENTED,
)  # fmt: skip


@dataclass
class Counts:
    """Numbers of schedules; `blocked_steps` alone counts steps.

    `aborted`: the server ended a transaction with an error, retryable (40001, 40P01) or not; a function was refused,
    any other error being its result.
    `false_positives`: 40001 at SERIALIZABLE although the same schedule, run at REPEATABLE READ, commits everything with
    an outcome of a serial order. `violated`: the invariant does not hold, whatever the verdict. `undecided`: the serial
    orders cannot judge it, or a step never ended, and then it represents all schedules with this prefix.
    """

    schedules: int = 0
    anomalous: int = 0
    aborted: int = 0
    false_positives: int = 0
    undecided: int = 0
    violated: int = 0
    blocked_steps: int = 0
    deadlocks: int = 0

    def add(self, other: Counts, times: int = 1) -> None:
        for one in fields(Counts):
            setattr(self, one.name, getattr(self, one.name) + times * getattr(other, one.name))


@dataclass
class OutcomeCount:
    """An outcome with the aborted sessions, its frequency, and the first schedule that led to it.

    `represents`: how many schedules end so, including those not run because they differ only in the order of
    independent steps; None if unknown.
    """

    verdict: VerdictKind
    outcome: Outcome
    aborted: tuple[tuple[str, str], ...]
    example: str
    count: int = 0
    represents: int | None = 0

    def add(self, count: int, represents: int | None) -> None:
        self.count += count
        self.represents = None if None in (represents, self.represents) else (self.represents or 0) + (represents or 0)

    def text(self) -> str:
        refused = "; ".join(f"{session} {told_off(refusal)}" for session, refusal in self.aborted)
        nothing = "a step that never ends" if self.outcome == _CUT_OFF else "nothing"
        return "; ".join(part for part in (self.outcome.text(), refused) if part) or nothing


@dataclass
class Exploration:
    """`run` counts the schedules that were run, `stands_for` all that they represent, if known.

    `complete`: every schedule that the server admits was run, or one of the same class. `counterexample`: an anomalous
    schedule, when shrunk with the fewest switches; None if none was found. `explanation`: its pattern's name with the
    remedies, and the level that refuses it, if known. `violation`: the first schedule that violates the invariant.
    `interrupted`: by Ctrl-C. `undecided_because`: how many of the run schedules cannot be judged, by reason.
    `not_compared`: what functions used that is in no outcome. `unordered`: why some orders may be out of the lab's
    reach, or ''. `easiest`: the number of switches, and the first of the anomalous run schedules with the fewest.
    `shrunk`: no other schedule has fewer than the counterexample.
    """

    case: str
    isolation: str
    complete: bool = False
    run: Counts = field(default_factory=Counts)
    stands_for: Counts | None = field(default_factory=Counts)
    seconds: float = 0.0
    outcomes: dict[Key, OutcomeCount] = field(default_factory=dict, repr=False)
    undecided_because: dict[str, int] = field(default_factory=dict, repr=False)
    counterexample: Counterexample | None = None
    explanation: tuple[str, ...] = ()
    invariant: bool = False
    violation: str | None = None
    interrupted: bool = False
    not_compared: tuple[str, ...] = ()
    unordered: str = ""
    easiest: tuple[int, str] | None = field(default=None, repr=False)
    shrunk: bool = field(default=False, repr=False)

    @property
    def schedules(self) -> int:
        """How many schedules were run."""
        return self.run.schedules

    @property
    def represents(self) -> int | None:
        """How many schedules the run ones represent; None if unknown."""
        return self.stands_for.schedules if self.stands_for else None

    @property
    def anomalous(self) -> int:
        """How many of the run schedules have an outcome of no serial order."""
        return self.run.anomalous

    @property
    def aborted(self) -> int:
        return self.run.aborted

    @property
    def false_positives(self) -> int:
        return self.run.false_positives

    @property
    def known(self) -> Counts:
        """The counts of all schedules if known, else of the run ones."""
        return self.stands_for or self.run

    @property
    def kind(self) -> VerdictKind:
        """`occurs` if any schedule is anomalous; else `undecided` if any is; else the SQLSTATE that aborts in any; else
        `prevented`."""
        kinds = {one.verdict for one in self.outcomes.values()}
        return next(kind for kind in _GRAVEST_FIRST if kind in kinds)

    def note(
        self, key: Key, example: str, counts: Counts, represents: int | None, orbit: Sequence[Renaming] = ({},)
    ) -> None:
        """Adds one schedule that has been run, and for each renaming of `orbit` those that it represents so renamed."""
        self.run.add(counts)
        if counts.violated and self.violation is None:
            self.violation = example
        if represents is None:
            self.stands_for = None
        if self.stands_for:
            self.stands_for.add(counts, (represents or 0) * len(orbit))
        self.outcomes.setdefault(key, OutcomeCount(*key, example)).add(1, represents if orbit else 0)
        for renaming in orbit[1:]:
            verdict, outcome, aborted = key
            ended = tuple(sorted((renaming.get(session, session), state) for session, state in aborted))
            other = verdict, outcome.renamed(renaming), ended
            words = " ".join(renaming.get(word, word) for word in example.split())
            self.outcomes.setdefault(other, OutcomeCount(*other, words)).add(0, represents)

    def note_anomalous(self, schedule: str, switches: int) -> None:
        """Keeps an anomalous schedule if none before it had as few switches."""
        if self.easiest is None or switches < self.easiest[0]:
            self.easiest = switches, schedule

    def note_endless(self, schedule: str, reason: str) -> None:
        """Adds a schedule that was abandoned at a step that never ends; it is not known how many have this prefix."""
        key = VerdictKind.UNDECIDED, _CUT_OFF, ()
        self.note(key, schedule, Counts(schedules=1, undecided=1), None)
        self.note_reason(reason)

    def note_reason(self, reason: str, times: int = 1) -> None:
        """Adds why a noted schedule is undecided."""
        self.undecided_because[reason] = self.undecided_because.get(reason, 0) + times

    def merge(self, other: Exploration) -> None:
        """Adds the results of a search in a later part of the same tree."""
        self.run.add(other.run)
        self.complete = self.complete and other.complete
        self.violation = self.violation or other.violation
        if other.easiest:
            self.note_anomalous(other.easiest[1], other.easiest[0])
        if other.stands_for is None:
            self.stands_for = None
        elif self.stands_for:
            self.stands_for.add(other.stands_for)
        for key, one in other.outcomes.items():
            mine = self.outcomes.setdefault(key, OutcomeCount(*key, one.example))
            mine.add(one.count, one.represents)
        for reason, times in other.undecided_because.items():
            self.note_reason(reason, times)
        self.not_compared = tuple(sorted({*self.not_compared, *other.not_compared}))

    @property
    def ran_each(self) -> bool:
        """Whether every schedule was run itself, none by an equivalent one."""
        return self.complete and self.represents == self.schedules

    def raised_only(self) -> dict[str, list[str]]:
        """The sessions that returned in no outcome and were never aborted, and their errors as text."""
        told: dict[str, set[str]] = {}
        others = {session for _, _, aborted in self.outcomes for session, _ in aborted}
        for one in self.outcomes.values():
            for session, answers in one.outcome.told:
                for answer in answers:
                    if isinstance(answer, Result) and answer.answered is AnswerKind.RETURNED:
                        others.add(session)
                    told.setdefault(session, set()).add(answer.text().removeprefix("-> "))
        return {session: sorted(texts) for session, texts in told.items() if session not in others}

    def to_dict(self) -> dict[str, Any]:
        """The form for JSON; `example` is a schedule that `zephyr-lab run --schedule` takes."""
        return {
            "case": self.case, "isolation": self.isolation, "complete": self.complete,
            **asdict(self.run), "represents": self.represents,
            "stands_for": asdict(self.stands_for) if self.stands_for else None,
            "undecided_because": dict(self.undecided_because), "counterexample": self.counterexample,
            "explanation": list(self.explanation),
            "violation": self.violation,
            "outcomes": [
                {
                    "outcome": one.text(), "verdict": str(one.verdict),
                    "serial": one.verdict not in (VerdictKind.OCCURS, VerdictKind.UNDECIDED),
                    "count": one.count, "represents": one.represents, "example": one.example,
                }
                for one in self.by_count()
            ],
            "not_compared": list(self.not_compared),
            "unordered": self.unordered,
            "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def by_count(self) -> list[OutcomeCount]:
        """The outcomes, those of most schedules first."""
        return sorted(self.outcomes.values(), key=lambda one: (-(one.represents or one.count), one.example))

    def scope(self) -> str:
        """`all 14 schedules`, `all 14 schedules, represented by 4`, or how many of unknown many."""
        counts, run = self.known, self.run.schedules
        if not self.complete:
            return f"{run:,} schedules, not all"
        if self.run.undecided:
            return f"{run:,} schedules, {self.run.undecided:,} of them undecided"
        if self.stands_for is None:
            return f"{run:,} schedules, which represent all"
        return f"all {counts.schedules:,} schedules" + (f", represented by {run:,}" if run < counts.schedules else "")

    def __str__(self) -> str:
        lines = [f"{self.case} at {self.isolation}: {self.scope()}"]
        lines += [
            f"  {one.represents or one.count:>6}  {one.verdict:<13} {one.text()}  [{one.example}]"
            for one in self.by_count()
        ]
        return "\n".join(lines + self._notes())

    def _notes(self) -> list[str]:
        """What is said below the outcomes."""
        counts = self.known
        false = f" ({counts.false_positives} false positives)" if counts.false_positives else ""
        undecided = f", {counts.undecided} undecided" if counts.undecided else ""
        lines = [
            f"anomalous {counts.anomalous} of {counts.schedules}, aborted {counts.aborted}{false}{undecided}, "
            f"{counts.blocked_steps} blocked steps, {counts.deadlocks} deadlocks"
        ]
        if self.invariant:
            lines.append(f"the invariant is violated in {counts.violated} of {counts.schedules}")
        if self.counterexample:
            title = "fewest switches" if self.shrunk or self.ran_each else "counterexample"
            lines += [f"{title}: {self.counterexample}", *self.explanation]
        lines += [f"undecided {times}: {reason}" for reason, times in self.undecided_because.items()]
        if not (self.complete and not self.undecided_because) and not self.run.anomalous:
            lines.append("none of these was anomalous, which is no proof")
        if self.unordered:
            lines.append(self.unordered)
        if self.not_compared:
            lines.append(f"used, and not compared: {'; '.join(self.not_compared)}")
        return lines

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = (
            Line(one.text(), str(one.verdict), f"{one.represents or one.count:,}", code=one.example)
            for one in self.by_count()
        )
        return block(f"{self.case} at {self.isolation}: {self.scope()}", lines, self._notes())
