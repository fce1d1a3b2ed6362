"""Explores functions as `explore.explorer` does specs: every order of their round trips, judged by the serial ones."""

from __future__ import annotations

import builtins
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from zephyr_lab.errors import REFUSALS, BadInput, NothingTested
from zephyr_lab.explore.counterexample import Counterexample, explain
from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Executed, Explorer, Invariant, OnProgress
from zephyr_lab.explore.fewest_switches import fewest_switches
from zephyr_lab.explore.reduced import Reduced
from zephyr_lab.explore.replay import Following, Replay
from zephyr_lab.explore.scheduler import Nondeterminism, Scheduler
from zephyr_lab.explore.verdict import SerialOutcomes, Verdict, judge
from zephyr_lab.extras import needed_by
from zephyr_lab.functions.answers import Answers
from zephyr_lab.functions.arguments import Kind, is_async, name_of, parameters_of
from zephyr_lab.functions.beside import Beside
from zephyr_lab.functions.effects import FunctionEffects, NotReducible, OpaqueMet
from zephyr_lab.functions.execution import FunctionExecution
from zephyr_lab.functions.interception import intercepted
from zephyr_lab.functions.memory import Memory
from zephyr_lab.functions.providers import Providers
from zephyr_lab.functions.remains import POSITIONS, here
from zephyr_lab.functions.session import Function
from zephyr_lab.functions.setup import FunctionSetup, Setup, unwrapped
from zephyr_lab.functions.surrogates import Surrogates
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Session, Spec, Step
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.schedule.transcript import End, Event, Result, Table, Transcript

if TYPE_CHECKING:
    from zephyr_lab.functions.content import Content
    from zephyr_lab.servers.database import Database
    from zephyr_lab.servers.keyvalue import KeyValue


FEW = 200


class _TooMany(Exception):
    """There are more orders than are run one by one."""


class FunctionExplorer(Explorer):
    """Explores functions, by session, after `setup` (SQL, or a function) in a schema of the lab's own.

    `keyvalue` gives the lab's Redis, and `uses_redis` says that it is to be put back before each schedule although no
    function takes it as a parameter.
    """

    def __init__(
        self,
        runner: Runner,
        functions: Mapping[str, Function],
        setup: Setup,
        isolation: IsolationLevel,
        invariant: Invariant | None = None,
        *,
        keyvalue: Callable[[], KeyValue],
        uses_redis: bool = False,
        ignore: Sequence[str] = (),
        answers: Answers | None = None,
        retry: bool = False,
    ) -> None:
        self._functions, self._is_intercepted, self._observes = functions, False, False
        self._at = lambda level: FunctionExplorer(
            runner, functions, setup, level, keyvalue=keyvalue, uses_redis=uses_redis, ignore=ignore, answers=answers,
            retry=retry,
        )  # fmt: skip
        self._providers = Providers(runner.database, keyvalue)
        prepares = [one for one in ([setup] if callable(setup) else setup) if not isinstance(one, str)]
        prepares = [unwrapped(one) for one in prepares if one]
        kinds = [parameters_of(one).kinds() for one in (*functions.values(), *prepares)]
        uses_redis = uses_redis or any(Kind.REDIS in some for some in kinds)
        content = None
        if uses_redis:
            with needed_by("a function that takes a Redis client"):
                from zephyr_lab.functions.content import Content  # redis-py takes as long to import as all the rest

            content = self._providers.content = Content(keyvalue())
        self._setup = FunctionSetup(setup, self._providers, content, runner.database, self._ask, functions.values())
        sessions = tuple(Session(name, (Step(name, name, ""),)) for name in functions)
        if invariant is not None and not isinstance(invariant, str):
            invariant = partial(_asked_beside, invariant, runner.database, content)
        super().__init__(runner, Spec("functions", sessions, self._setup.setups), isolation, invariant)
        self._ignore, self._answers, self._retry = ignore, answers or Answers(), retry
        self._running: FunctionExecution | None = None
        self._function_effects: FunctionEffects | None = None
        self._memory: Memory | None = None
        self._known_surrogates: Surrogates | None = None
        self._forget_serial()
        self._serializable = False
        for function, some in zip((*functions.values(), *prepares), kinds, strict=True):
            self._providers.prepare(some, is_async(function))

    def _forget_serial(self, *, positions: bool = False) -> None:
        """`positions`: the outcomes that are judged next hold the positions of sequences."""
        self._positions = positions

        def run(order: Schedule) -> Transcript:
            found = self._run_in_order(order)
            final = {name: one for name, one in found.final.items() if positions or name != POSITIONS}
            return self._surrogates.without(replace(found, final=final))

        self._serial = SerialOutcomes(run)

    def _ask(self, sql: str) -> list[Result]:
        return self._runner.workspace.execute(sql, "what the setup has made")

    def explore(self, scheduler: Scheduler, *args: Any, **kwargs: Any) -> Exploration:
        """As for a spec. Raises Nondeterminism where the first schedule, run again, goes another way.

        Raises NotReducible where a scheduler wants effects and functions share what is not seen by them.
        """
        with self.intercepted():
            order = Schedule(tuple(self._functions))
            if self._setup.content:  # the first run opens connections
                self._run_in_order(order)
            first = self._run_in_order(order)
            self._memory = memory = self._memory or Memory(self._functions.values())  # what is made once is there
            self._check_ignored(first)
            second = self._run_in_order(order)
            self._known_surrogates = self._surrogates.learned(first, second)
            self._check_same_run(first, second)
            reduces = scheduler.wants_effects
            if not (reduces and memory.is_shared):
                found = super().explore(scheduler, *args, **kwargs)
            if reduces and memory.is_shared:
                raise NotReducible
            changed = {f"Python's memory: {name}" for name in memory.changed}
            found.not_compared = tuple(sorted(self._setup.outside | changed))
            return found

    @contextlib.contextmanager
    def intercepted(self) -> Iterator[None]:
        """While it lasts, functions are under control, and connections of theirs are kept from search to search."""
        if self._is_intercepted:
            yield
            return
        self._is_intercepted = True
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, self, "_is_intercepted", False)
            stack.enter_context(intercepted())
            stack.callback(self.close)
            yield

    @property
    def _surrogates(self) -> Surrogates:
        return self._known_surrogates or Surrogates()

    def _begin(self, spec: Spec, functions: Mapping[str, Function]) -> FunctionExecution:
        execution = FunctionExecution(
            self._runner, spec, self._isolation, functions, self._setup, self._providers, self._answers
        )  # fmt: skip
        if self._known_surrogates is None:
            try:
                self._known_surrogates = Surrogates.ask(
                    self._ask, here(self._runner.database.is_embedded), self._ignore, self._setup.sequences or (),
                    stable=self._runner.database.facts.is_superuser,
                )  # fmt: skip
            except BaseException:
                self._abandon(execution)
                raise
        return execution

    def search(
        self, reduction: bool | None, on_progress: OnProgress | None = None, budget: float | None = None
    ) -> Exploration:
        """Explores all orders: one by one where there are at most FEW, else with reduction, if that is possible.

        True or False for `reduction` has it so in any case, but for functions that do what forbids it.
        """
        deadline = None if budget is None else time.monotonic() + budget

        def run(scheduler: Scheduler, on_progress: OnProgress | None = on_progress) -> Exploration:
            return self.explore(
                scheduler, on_progress, None if deadline is None else max(0.0, deadline - time.monotonic())
            )

        def give_up_early(found: Exploration) -> None:
            if found.schedules > FEW:
                raise _TooMany
            if on_progress:
                on_progress(found)

        try:
            if reduction is None:
                with contextlib.suppress(_TooMany):
                    return run(Exhaustive(), give_up_early)
            if reduction is not False:
                with contextlib.suppress(OpaqueMet):
                    return run(Reduced(self.is_local))
                return run(Reduced(self.is_local))
        except NotReducible:
            pass
        return run(Exhaustive())

    def check_tested(self, found: Exploration) -> None:
        """Raises NothingTested where every function raised in all orders."""
        raised = found.raised_only()
        if raised and raised.keys() == self._functions.keys():
            texts = [text for some in raised.values() for text in some]
            told = "; ".join(f"session {name} raised {' or '.join(texts)}" for name, texts in raised.items())
            raise NothingTested(
                f"{told}, in each of {found.schedules:,} schedules: nothing was tested. {_way_on(texts)}? Say "
                "may_raise=True where that is meant"
            )

    def is_local(self, session: str) -> bool:
        assert self._running
        assert self._function_effects
        return self._function_effects.next_is_local(self._running.sessions[session])

    def execute(self, scheduler: Scheduler) -> Executed | None:
        execution = self._running = None
        last: str | None = None
        switches = 0
        effects: list[Effect] | None = [] if scheduler.wants_effects else None
        try:
            execution = self._running = self._begin(self._spec, self._functions)
            memory = self._memory if scheduler.wants_effects else None
            if memory:
                memory.begin()
            execution.start(*self._functions)
            if self._observes:
                execution.observe()
            follow = self._follower() if scheduler.wants_effects else None
            while runnable := execution.runnable():
                before, last = last, scheduler.next_session(runnable, last)
                if last is None:
                    execution.finish()
                    return None
                if memory and memory.is_shared:
                    raise NotReducible
                switches += before not in (None, last)
                events = execution.take(last)
                if memory and memory.is_small:
                    memory.look()
                if follow and effects is not None:
                    effects.append(follow.after_turn(events, execution.sessions))
                    scheduler.observe(effects[-1])
            if self._retry:
                execution.retry()
            if memory:
                memory.look()
            question = self._invariant if isinstance(self._invariant, str) else None
            return Executed(execution.finish(question), effects, switches)
        except BaseException:
            self._abandon(execution)
            raise

    def _follower(self) -> FunctionEffects:
        if self._function_effects is None:
            from zephyr_lab.explore.statement import footprints  # its parser takes as long to import as all the rest

            self._function_effects = FunctionEffects(self._spec, self._isolation, footprints(self._ask))
        self._function_effects.begin()
        return self._function_effects

    def _abandon(self, execution: FunctionExecution | None) -> None:
        if execution:
            execution.abandon()
        self._runner.abandon()

    def verdict(self, transcript: Transcript) -> Verdict:
        """As for a spec; but a function that returns what no serial order has it return, having been sent away, has
        reported just that, and is judged as aborted."""
        if self._positions != (POSITIONS in transcript.final):  # a function has read one for the first time
            self._forget_serial(positions=POSITIONS in transcript.final)
        transcript, serial = self._surrogates.without(transcript), self._serial
        first = judge(transcript, serial)
        refused = {one.session for one in transcript.transactions if one.sqlstate in REFUSALS and one.answered}
        if not (first.anomalous and refused):
            return first
        usual = {said for outcome in first.serial.values() for said in outcome.told}
        reported = {name for name, told in first.outcome.told if name in refused and (name, told) not in usual}
        transactions = tuple(
            replace(one, end=End.ABORTED, answered=False) if one.session in reported else one
            for one in transcript.transactions
        )
        return judge(replace(first.transcript, transactions=transactions), serial) if reported else first

    def replay(self, schedule: str) -> Transcript:
        """One schedule, as it was printed. Raises BadInput, and Nondeterminism where it cannot be had."""
        replay = Replay(schedule)
        replay.new_execution()
        with self.intercepted():
            executed = self.execute(replay)
        assert executed
        return executed.transcript

    def follow(self, schedule: str) -> Verdict:
        """Runs a schedule as nearly as the functions allow, and judges it. Raises BadInput."""
        with self.intercepted():
            executed = self.execute(Following(schedule, tuple(self._functions)))
            assert executed
            self._check_ignored(executed.transcript)
            return self.verdict(executed.transcript)

    def counterexample(self, found: Exploration, deadline: float | None = None) -> Counterexample:
        """An anomalous schedule with as few switches as any, where some were found. Raises Nondeterminism.

        The deadline (of time.time) ends the search for a better one; who has interrupted the search waits for none.
        """
        if found.interrupted:
            deadline = 0.0
        with self.intercepted():
            schedule = fewest_switches(self, found, deadline)
            transcript = self.replay(schedule)
            self._check_same_run(transcript, self.replay(schedule))
            verdict = self.verdict(transcript)
        if not verdict.anomalous:
            raise Nondeterminism(f"{schedule!r} was anomalous once, and is not when it is run again. {_WHY}")
        return Counterexample.of(schedule, replace(verdict, transcript=transcript), self.replay)

    def explain(self, schedule: str) -> tuple[str, ...]:
        """What is known of an anomalous schedule: its name with the remedies, and the level that refuses it."""
        with self.intercepted():
            return explain(
                schedule,
                self._isolation,
                lambda: self._observed(schedule),
                lambda level: self._at(level).follow(schedule),
            )

    def _observed(self, schedule: str) -> Transcript:
        self._observes = True
        try:
            return self.replay(schedule)
        finally:
            self._observes = False

    def _run_in_order(self, order: Schedule) -> Transcript:
        """One function after another, from what Python does before its first round trip to its end."""
        functions = {name: self._functions[name] for name in order.steps}
        spec = replace(self._spec, sessions=tuple(self._spec.session(name) for name in order.steps))
        execution = None
        try:
            execution = self._begin(spec, functions)
            memory = self._memory or Memory(())
            memory.begin()
            for name in order.steps:
                execution.start(name)
                while name in execution.runnable():
                    execution.take(name)
                    memory.look()  # what is put back in the end may have been seen by others
            memory.look()
            return execution.finish()
        except BaseException:
            self._abandon(execution)
            raise

    def _check_same_run(self, one: Transcript, two: Transcript) -> None:
        """Raises Nondeterminism, naming where they parted, if two runs of one schedule are not the same."""
        whole = f"of the schedule {one.schedule!r}"
        one, two = self._surrogates.without(one), self._surrogates.without(two)
        for place, (first, second) in enumerate(itertools.zip_longest(one.events, two.events), start=1):
            if self._as_compared(first) != self._as_compared(second):
                session = (first or second).session  # type: ignore[union-attr]
                raise Nondeterminism(
                    f"session {session}, round trip {place} {whole}: {_shown(first, session)}, and when it was run "
                    f"again {_shown(second, session)}. {_WHY}"
                )
        for name in {**one.final, **two.final}:
            if one.final.get(name) != two.final.get(name):
                columns = [f"{name}.{column}" for column in _differing(one.final.get(name), two.final.get(name))]
                where = f" in {', '.join(columns)}" if columns else ""
                way_on = f", or leave columns out of the comparison: ignore={columns}" if columns else ""
                raise Nondeterminism(f"{name} holds other rows{where} at the end {whole}, run twice. {_WHY}{way_on}")

    def _check_ignored(self, transcript: Transcript) -> None:
        """Raises BadInput where a column that is to be ignored is not there."""
        for one in self._ignore:
            table, _, column = one.rpartition(".")
            if table not in transcript.final:
                if table.startswith("redis"):  # it may hold nothing
                    continue
                tables = ", ".join(transcript.final) or "none at all"
                raise BadInput(f"ignore={one!r}: there is no table {table!r} in the end; there are: {tables}")
            if column not in transcript.final[table].columns:
                columns = ", ".join(transcript.final[table].columns)
                raise BadInput(f"ignore={one!r}: the columns of {table} are {columns}")

    def _as_compared(self, event: Event | None) -> Event | None:
        """Whoever has columns ignored may well put a clock's time into a statement."""
        seen = self._surrogates.without_values(event) if event else None
        return replace(seen, sql="") if seen and self._ignore else seen

    def close(self) -> None:
        """Lets go of connections of its own; what is done later opens them again."""
        self._setup.close()
        self._providers.close()


def _asked_beside(
    invariant: Callable[[Transcript], bool], database: Database, content: Content | None, transcript: Transcript
) -> bool:
    """What an invariant that is a function says, whose own connections lead to the lab's schema."""
    return bool(Beside(f"invariant {name_of(invariant)}", database, content).run(partial(invariant, transcript)))


_WHY = (
    "The functions do not depend on their schedule alone: chance, a clock, an id made up, threads of their own? Hand "
    "such values in as arguments"
)


_OF_PYTHON = tuple(name for name, one in vars(builtins).items() if isinstance(one, type))


def _way_on(raised: Sequence[str]) -> str:
    """What may be wrong where nothing but errors came, by their texts."""
    if any("UnicodeDecodeError" in text for text in raised):
        return (
            "The Redis client that is handed in decodes what it reads: for bytes ask for url = lab.redis_url "
            "beforehand, and have the function make its own, redis.Redis.from_url(url). Or is it something else"
        )
    if all(text.removeprefix("raised ").startswith(_OF_PYTHON) for text in raised):
        return "Is there a mistake in the function, or something missing in the setup"
    return "Is a name in the SQL wrong, or something missing in the setup"


def _shown(event: Event | None, session: str) -> str:
    return f"{event.sql!r} {event.text()}" if event and event.session == session else "another session's"


def _differing(one: Table | None, two: Table | None) -> tuple[str, ...]:
    """The columns in which two tables with as many rows differ."""
    if one is None or two is None or len(one.rows) != len(two.rows):
        return ()
    rows = list(zip(one.rows, two.rows, strict=True))
    return tuple(
        name for place, name in enumerate(one.columns) if any(row[place] != other[place] for row, other in rows)
    )
