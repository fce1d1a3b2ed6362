"""Specs and schedules as plain data: sessions of steps, and an order that says whose step comes next.

The words are isolationtester's: a *spec* has setup and teardown blocks, sessions, steps and permutations.
"""

from __future__ import annotations

import re
import shlex
import string
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from zephyr_lab.errors import BadInput


@dataclass(frozen=True)
class Step:
    """One message sent by one session: one statement, or several that travel together."""

    name: str
    session: str
    sql: str


@dataclass(frozen=True)
class Session:
    """One connection with a name, and the steps it may take, in the order of its program."""

    name: str
    steps: tuple[Step, ...]
    setup: str | None = None
    teardown: str | None = None


@dataclass(frozen=True)
class Blocker:
    """A mark behind a step in a permutation: `(*)`, `(step)` or `(step notices N)`, as isolationtester defines them."""

    step: str | None = None
    notices: int | None = None


@dataclass(frozen=True)
class ScheduledStep:
    """A step at its place in a permutation, with its marks."""

    step: str
    blockers: tuple[Blocker, ...] = ()


@dataclass(frozen=True)
class Spec:
    """A whole case: the setup, each session's steps, and the permutations of the file."""

    name: str
    sessions: tuple[Session, ...]
    setups: tuple[str, ...] = ()
    teardown: str | None = None
    permutations: tuple[tuple[ScheduledStep, ...], ...] = ()
    file: str = field(default="", compare=False)
    steps: dict[str, Step] = field(init=False, repr=False, compare=False, hash=False)
    _by_name: dict[str, Session] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", {step.name: step for session in self.sessions for step in session.steps})
        object.__setattr__(self, "_by_name", {session.name: session for session in self.sessions})

    def with_steps(self, sql: Mapping[str, str]) -> Spec:
        """The same spec with other SQL in the named steps. Raises BadInput for an unknown step."""
        for name in sql:
            if name not in self.steps:
                raise BadInput(f"{self.name} has no step {name!r}; its steps are {', '.join(self.steps)}")
        sessions = tuple(
            replace(one, steps=tuple(replace(step, sql=sql.get(step.name, step.sql)) for step in one.steps))
            for one in self.sessions
        )
        return replace(self, sessions=sessions)

    def with_sessions(self, number: int) -> Spec:
        """The same spec with `number` sessions: the file's first ones, followed by copies of its last one if needed.

        A copy is named by the next free letter, and its steps after it: `B_read` becomes `C_read`. Its SQL is the same.
        Raises BadInput for no sessions, or more than there are letters.
        """
        names = [name for name in string.ascii_uppercase if name not in self.session_names]
        extra = number - len(self.sessions)
        if number < 1 or extra > len(names):
            raise BadInput(
                f"{number} sessions cannot be made of {self.name}: choose 1 to {len(self.sessions) + len(names)}"
            )
        model = self.sessions[-1]
        copies = []
        for name in names[: max(0, extra)]:
            steps = tuple(
                Step(f"{name}_{step.name.removeprefix(model.name).lstrip('_')}", name, step.sql) for step in model.steps
            )
            copies.append(replace(model, name=name, steps=steps))
        kept = (*self.sessions[:number], *copies)
        taken = {step.name for session in kept for step in session.steps}
        permutations = [one for one in self.permutations if {scheduled.step for scheduled in one} == taken]
        return replace(self, sessions=kept, permutations=tuple(permutations))

    def listing(self) -> str:
        """The spec as text: setup, then each session's steps, one per line."""
        lines = [line for block in self.setups for line in textwrap.dedent(block).strip().splitlines()]
        width = max(len(name) for name in self.steps)
        for session in self.sessions:
            lines += ["", f"session {session.name}"]
            lines += [f"  {step.name:<{width}}  {' '.join(step.sql.split())}" for step in session.steps]
        return "\n".join(lines)

    def blocks(self) -> Iterator[tuple[str, str]]:
        """All of its SQL, each piece with its place."""
        yield from ((f"{self.name}, setup block {number}", sql) for number, sql in enumerate(self.setups, start=1))
        for session in self.sessions:
            around = (("setup", session.setup), ("teardown", session.teardown))
            yield from ((f"{self.name}, {what} of session {session.name}", sql) for what, sql in around if sql)
            yield from ((f"{self.name}, step {step.name}", step.sql) for step in session.steps)
        if self.teardown:
            yield f"{self.name}, teardown", self.teardown

    def mentions(self, words: str) -> bool:
        """Whether words occur in the SQL of a session, case-insensitive, with any blanks between."""
        pattern = r"(?i)\b" + r"\s+".join(map(re.escape, words.split())) + r"\b"
        return any(
            re.search(pattern, sql)
            for session in self.sessions
            for sql in [session.setup or "", *(step.sql for step in session.steps)]
        )

    def replay(self, isolation: str, schedule: str) -> str:
        """The command that runs a schedule of this spec again."""
        return f'zephyr-lab run {self.file or self.name} --isolation "{isolation}" --schedule "{schedule}"'

    @property
    def session_names(self) -> tuple[str, ...]:
        return tuple(session.name for session in self.sessions)

    def session(self, name: str) -> Session:
        return self._by_name[name]


@dataclass(frozen=True)
class Schedule:
    """An order of steps: the names of the steps, one after another."""

    steps: tuple[str, ...]

    @classmethod
    def parse(cls, text: str | Iterable[str], spec: Spec) -> Schedule:
        """Reads `"A B A B"`: each word is a session, which then takes its next step, or the name of a step.

        A schedule may stop before every program has ended. Raises BadInput, naming the word and the way on.
        """
        words = _split(text) if isinstance(text, str) else list(text)
        if not words:
            raise BadInput(f"an empty schedule; write sessions in order, such as {example(spec)!r}")
        taken: Counter[str] = Counter()
        steps = []
        for place, word in enumerate(words, start=1):
            if word in spec.session_names:
                program = spec.session(word).steps
                if taken[word] == len(program):
                    raise BadInput(
                        f"word {place} of the schedule: session {word} has {len(program)} steps "
                        f"({', '.join(step.name for step in program)}), and all are taken by then"
                    )
                step = program[taken[word]]
            elif word in spec.steps:
                step = spec.steps[word]
            else:
                raise BadInput(
                    f"word {place} of the schedule, {word!r}, is neither a session ({', '.join(spec.session_names)}) "
                    f"nor a step ({', '.join(spec.steps)}) of {spec.name}; write for example {example(spec)!r}"
                )
            taken[step.session] = spec.session(step.session).steps.index(step) + 1
            steps.append(step.name)
        return cls(tuple(steps))

    @classmethod
    def serial(cls, spec: Spec, order: Sequence[str]) -> Schedule:
        """The serial schedule: one session after another, each from its first step to its last."""
        return cls(tuple(step.name for name in order for step in spec.session(name).steps))

    @classmethod
    def of(cls, permutation: Iterable[ScheduledStep]) -> Schedule:
        return cls(tuple(scheduled.step for scheduled in permutation))

    def text(self, spec: Spec) -> str:
        """Words that `parse` reads back: sessions' names, or steps' names if a program is not taken in order."""
        words = [spec.steps[name].session for name in self.steps]
        try:
            if Schedule.parse(words, spec) == self:
                return shlex.join(words)
        except BadInput:
            pass
        return shlex.join(self.steps)


def _split(words: str) -> list[str]:
    """Words as split by a shell: names with blanks are quoted."""
    try:
        return shlex.split(words)
    except ValueError as error:
        raise BadInput(f"the schedule {words!r} cannot be read: {error}") from None


def example(spec: Spec) -> str:
    """A valid schedule of `spec` for errors: its first permutation, else the serial one."""
    if spec.permutations:
        return Schedule.of(spec.permutations[0]).text(spec)
    return Schedule.serial(spec, spec.session_names).text(spec)
