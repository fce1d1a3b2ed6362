"""A counterexample as plain data: what is set up, which statements come in which order, and what came of each."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from zephyr_lab.errors import DEADLOCK_DETECTED
from zephyr_lab.explore.verdict import Verdict
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, ScheduledStep, Session, Spec, Step
from zephyr_lab.schedule.transcript import CRASH, Event, EventKind, Transcript
from zephyr_lab.share.importable import Imported
from zephyr_lab.sql.classify import mentions_level
from zephyr_lab.sql.tokens import UnclearSQL, split

REDIS = "redis: "
# The session that is to be aborted in a deadlock looks for it at once or, if it waits before the cycle is closed, when
# that has been done; the others as good as never.
AT_ONCE, LATER, NEVER = "10ms", "2s", "100s"
_EMPTY = re.compile(r"(^|;)\s*;")
_WORD = re.compile(r"[a-z]+")
_COPIES_DATA = re.compile(r"(?is)\s*copy\b.*\b(from\s+stdin|to\s+stdout)\b|copy end")


@dataclass(frozen=True)
class Moment:
    """A place in a schedule: a step in SQL or, where `step` is '', what SQL cannot say, such as a command of Redis.

    `told` is what came of it at once: rows, or whom it waits for. `then` is what waiting sessions were told after it.
    """

    session: str
    step: str
    sql: str
    told: str
    then: tuple[str, ...] = ()

    @property
    def is_redis(self) -> bool:
        return self.sql.startswith(REDIS)


@dataclass(frozen=True)
class Recorded:
    """A counterexample: `spec` sets it up and has its steps, `moments` are these in their order, and all else.

    `verdict` has what was run, `observed` also the rows between the steps; `tables` are those of the schema. `ends` is
    what functions returned or raised, in words, and `left_out` what the spec lacks. `whole_sessions`: it is judged by
    the orders of sessions, since one has several transactions. `doubt` is why the spec alone does not show the anomaly,
    or ''. `imported` are the functions, if another module can import them.
    """

    spec: Spec
    isolation: IsolationLevel
    schedule: str
    verdict: Verdict
    observed: Transcript
    moments: tuple[Moment, ...]
    tables: tuple[str, ...]
    server: str
    ends: tuple[str, ...] = ()
    explanation: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    whole_sessions: bool = False
    doubt: str = ""
    imported: Imported | None = None

    @property
    def title(self) -> str:
        return f"{self.spec.name} at {self.isolation}, schedule {self.schedule}"

    @property
    def claim(self) -> str:
        """What is shown, as the end of a sentence."""
        if self.verdict.anomalous:
            return "no serial order gives its outcome"
        return f"{self.verdict.kind}: {self.verdict.reason}"

    @property
    def spec_schedule(self) -> str:
        """The schedule of the spec, whose steps are fewer where something is no SQL."""
        return Schedule.of(self.spec.permutations[0]).text(self.spec)

    @property
    def uses_redis(self) -> bool:
        return any(moment.is_redis for moment in self.moments)


def moments_of(transcript: Transcript, *, renamed: bool) -> tuple[Moment, ...]:
    """The events of a schedule by their places. `renamed`: round trips of functions, which get names as steps."""
    found: list[Moment] = []
    numbers: Counter[str] = Counter()
    for event in transcript.events:
        if event.is_return:
            continue
        if event.resumed and found:
            said = f"{event.session} {'goes on: ' if event.kind is not EventKind.WAITS else ''}{event.text()}"
            found[-1] = replace(found[-1], then=(*found[-1].then, said.replace("goes on: resumes: ", "goes on: ")))
            continue
        sql = _without_empty(textwrap.dedent(event.whole or event.sql).strip())
        step = event.step
        if renamed:
            numbers[event.session] += is_sql(sql)
            step = _step_name(event.session, numbers[event.session], event.sql) if is_sql(sql) else ""
        found.append(Moment(event.session, step, sql, event.text()))
    return tuple(found)


def _without_empty(sql: str) -> str:
    """Without empty statements, which some drivers send."""
    if not _EMPTY.search(sql):
        return sql
    with contextlib.suppress(UnclearSQL):
        return "; ".join(split(sql))
    return sql


def is_sql(text: str) -> bool:
    """Whether a round trip can be repeated as it stands."""
    return text not in ("", CRASH) and not text.startswith(REDIS) and not _COPIES_DATA.match(text)


def _step_name(session: str, number: int, sql: str) -> str:
    """`A_3_update`: by the word that its last statement begins with."""
    last = sql.rstrip("; \n").rpartition(";")[2]
    word = _WORD.search(last.lower())
    return f"{session}_{number}_{word[0] if word else 'step'}"


def spec_of(
    name: str, moments: Iterable[Moment], sessions: Iterable[str], setups: Iterable[str], teardown: str | None
) -> Spec:
    """The spec of these moments, with their order as its only permutation."""
    steps = [Step(one.step, one.session, one.sql) for one in moments if one.step]
    made = [Session(one, tuple(step for step in steps if step.session == one)) for one in sessions]
    permutation = tuple(ScheduledStep(step.name) for step in steps)
    return Spec(name, tuple(one for one in made if one.steps), tuple(setups), teardown, (permutation,))


def with_settings(
    spec: Spec, isolation: IsolationLevel, events: Iterable[Event], *, may_set_deadlock_timeout: bool
) -> Spec:
    """The same spec, whose sessions set their level and, if they may, who is aborted in a deadlock: where it is run
    elsewhere."""
    deadlocks = [one for one in events if one.failure and one.failure.sqlstate == DEADLOCK_DETECTED]
    victims = {one.session: LATER if one.resumed else AT_ONCE for one in deadlocks if not one.is_return}
    sets_it = any("deadlock_timeout" in sql for _, sql in spec.blocks())
    sessions = []
    for session in spec.sessions:
        said = []
        own = [session.setup or "", *(step.sql for step in session.steps)]
        if isolation is not IsolationLevel.READ_COMMITTED and not any(map(mentions_level, own[:1])):
            said.append(f"set default_transaction_isolation = '{isolation}'")
        if victims and may_set_deadlock_timeout and not sets_it:
            said.append(f"set deadlock_timeout = '{victims.get(session.name, NEVER)}'")
        if said and session.setup:
            # In one message with a BEGIN the level of its transaction would be that of before.
            said = ["begin", *said, "commit", session.setup]
        sessions.append(replace(session, setup="; ".join(said) if said else session.setup))
    return replace(spec, sessions=tuple(sessions))
