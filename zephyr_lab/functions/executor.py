"""Carries out the schedules of functions: the `Executor` whose steps are round trips."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from zephyr_lab.errors import ScheduleError
from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.scheduler import Candidate, Nondeterminism
from zephyr_lab.explore.symmetry import victim_by_name
from zephyr_lab.explore.verdict import NoSuchOrder, SerialOutcomes, Verdict
from zephyr_lab.extras import needed_by
from zephyr_lab.functions.answers import Answers
from zephyr_lab.functions.arguments import Kind, is_async, parameters_of
from zephyr_lab.functions.effects import FunctionEffects, NotReducible
from zephyr_lab.functions.execution import FunctionExecution, NothingToOrder, WaitsForEver
from zephyr_lab.functions.interception import intercepted
from zephyr_lab.functions.memory import Memory
from zephyr_lab.functions.names import without_surrogates
from zephyr_lab.functions.providers import Providers
from zephyr_lab.functions.remains import POSITIONS, here
from zephyr_lab.functions.reproducible import check_ignored, check_same_run
from zephyr_lab.functions.scheduled import Elsewhere, Scheduled
from zephyr_lab.functions.session import Function, FunctionSession
from zephyr_lab.functions.setup import FunctionSetup, Setup, unwrapped
from zephyr_lab.functions.surrogates import Surrogates
from zephyr_lab.functions.trace import SHARED_NUMBERS, Trace
from zephyr_lab.options import RunOptions
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.faults import Faults, is_expiry
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Session, Spec, Step
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.schedule.transcript import Result, Transcript

if TYPE_CHECKING:
    from zephyr_lab.functions.content import Content
    from zephyr_lab.servers.keyvalue import KeyValue

_REMEMBERS = (
    "What a service or an app keeps in memory is put back before each schedule by its reset=: a request, a function of "
    'an app, "restart" for a service'
)


class RunningFunctions:
    """A schedule of functions. With `effects`, these are tracked, and so is Python's `memory`, which they do not cover.

    With `retry`, refused sessions are retried after the schedule.
    """

    def __init__(
        self,
        execution: FunctionExecution,
        effects: FunctionEffects | None,
        memory: Memory | None,
        retry: bool,
        ask: Callable[[str], list[Result]],
    ) -> None:
        self._execution, self._effects, self._memory, self._retry = execution, effects, memory, retry
        self._ask = ask
        self.tells_sessions_apart = False

    def candidates(self) -> Sequence[Candidate]:
        able = [Candidate(name, self._is_local) for name in self._execution.runnable()]
        return [*able, *map(Candidate, self._execution.faults())] if able else []

    def _is_local(self, session: str) -> bool:
        return self._effects is not None and self._effects.next_is_local(self._execution.sessions[session])

    def take(self, session: str) -> Effect | None:
        """Also raises NotReducible, if functions share memory or send what is not understood; OpaqueMet, and Finer."""
        if self._memory and self._memory.is_shared:
            raise NotReducible
        if self._effects:
            self._effects.before_turn(self._execution.sessions[session], self._ask)
        events = self._execution.take(session)
        self.tells_sessions_apart |= victim_by_name(events, session)
        if self._memory and self._memory.is_small:
            self._memory.look()
        return self._effects.after_turn(events, self._execution.sessions) if self._effects else None

    def finish(self, question: str | None = None) -> Transcript:
        if not self._execution.runnable():  # else the schedule was abandoned
            if self._retry:
                self._execution.retry()
            if self._memory:
                self._memory.look()
        return self._execution.finish(question)


class FunctionExecutor:
    """The `Executor` of functions, by session, after their setup in a schema of the lab's own.

    `answers` reads how they end. `keyvalue` returns the lab's Redis; `uses_redis`: restore it before each schedule
    although no function takes it as a parameter. `elsewhere` makes the sessions that are not functions in threads.
    `starts` is the order in which they are started. Run everything within `intercepted`. Raises BadInput.
    """

    name = "functions"

    def __init__(
        self,
        runner: Runner,
        functions: Mapping[str, Function],
        options: RunOptions,
        *,
        answers: Answers,
        keyvalue: Callable[[], KeyValue],
        uses_redis: bool,
        elsewhere: Elsewhere | None,
    ) -> None:
        self.runner, self.functions, self.isolation = runner, functions, IsolationLevel.of(options.isolation)
        self.starts = tuple(functions)
        self.faults = Faults.of(options.faults, options.time)
        self.faults.check_names(functions)
        self._elsewhere = elsewhere
        self._here = {name: one for name, one in functions.items() if not elsewhere or name not in elsewhere.names}
        self._ignore, self._answers, self._retry = options.ignore, answers, options.retry
        self._providers = Providers(runner.database, keyvalue)
        setup: Setup = options.setup
        parts = [setup] if callable(setup) else setup
        prepares = [unwrapped(one) for one in parts if not isinstance(one, str)]
        kinds = [parameters_of(one).kinds() for one in (*self._here.values(), *prepares)]
        self.content: Content | None = None
        if uses_redis or any(Kind.REDIS in some for some in kinds):
            with needed_by("a function that takes a Redis client"):
                from zephyr_lab.functions.content import Content  # redis-py takes as long to import as all the rest

            self.content = self._providers.content = Content(keyvalue())
        self._setup = FunctionSetup(
            setup, self._providers, self.content, runner.database, self._ask, functions.values(), elsewhere
        )
        sessions = tuple(Session(name, (Step(name, name, ""),)) for name in functions)
        self._spec = Spec("functions", sessions, self._setup.setups)
        self._is_intercepted = False
        self._execution: FunctionExecution | None = None
        self._effects: FunctionEffects | None = None
        self._memory: Memory | None = None
        self.met: Transcript | None = None  # as `learn` ran them
        self.is_opaque = False
        self._known_surrogates: Surrogates | None = None
        # By whether outcomes hold the positions of sequences: they do once a function has read one.
        self._serial = {known: SerialOutcomes(partial(self._run_serially, known)) for known in (False, True)}
        for function, some in zip((*self._here.values(), *prepares), kinds, strict=True):
            self._providers.prepare(some, is_async(function))

    def _ask(self, sql: str) -> list[Result]:
        return self.runner.workspace.execute(sql, "what the setup has made")

    @contextlib.contextmanager
    def intercepted(self) -> Iterator[None]:
        """Controls functions inside the block, and keeps their connections from search to search."""
        if self._is_intercepted:
            yield
            return
        self._is_intercepted = True
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, self, "_is_intercepted", False)
            stack.enter_context(intercepted())
            if self._elsewhere:
                stack.enter_context(self._elsewhere.controlled())
            stack.callback(self._close)
            yield

    def _close(self) -> None:
        """Closes its own connections; they are reopened on demand."""
        self._setup.close()
        self._providers.close()

    # -- for the explorer

    def programs(self) -> dict[str, Hashable]:
        """By session, what it runs: equal for the same function with equal arguments.

        Each is its own where sessions have a place in the order: retries follow it, and so do starts in a service.
        """
        if self._retry or self._elsewhere:
            return {name: name for name in self.functions}
        return {name: _program(function) for name, function in self.functions.items()}

    def begin(self, *, follow: bool = False, by_table: bool = False, observed: bool = False) -> RunningFunctions:
        try:
            execution = self._begin(self._spec, self.functions)
            memory = self._memory if follow else None
            if memory:
                memory.begin()
            execution.start(*self.starts)
            if observed:
                execution.observe()
            effects = self._followed(by_table) if follow else None
            return RunningFunctions(execution, effects, memory, self._retry, self._ask)
        except BaseException:
            self.abandon()
            raise

    def _begin(self, spec: Spec, functions: Mapping[str, Function], faults: Faults | None = None) -> FunctionExecution:
        self._execution = None
        if self._elsewhere:
            self._elsewhere.begin(str(self.isolation))
        own = replace(spec, sessions=tuple(one for one in spec.sessions if one.name in self._here))
        self._execution = FunctionExecution(
            self.runner, own, self.isolation, functions, self._setup, self._make_session, self.faults, self._retry
        )
        if self._known_surrogates is None:
            self._known_surrogates = Surrogates.ask(
                self._ask,
                here(self.runner.database.is_embedded),
                self._ignore,
                self._setup.sequences or (),
                stable=self.runner.database.facts.is_superuser,
            )
        return self._execution

    def _make_session(self, name: str, channel: Channel | None) -> Scheduled:
        if channel is None:
            assert self._elsewhere
            return self._elsewhere.session(name)
        return FunctionSession(channel, self.functions[name], self._providers, self._answers)

    def _followed(self, by_table: bool) -> FunctionEffects:
        if self._effects is None:
            from zephyr_lab.explore.statement import footprints  # its parser takes as long to import as all the rest

            self._effects = FunctionEffects(self._spec, self.isolation, footprints(self._ask))
            if self.is_opaque:
                self._effects.note_opaque()
        self._effects.begin(by_table=by_table)
        return self._effects

    def abandon(self) -> None:
        if self._execution:
            self._execution.abandon()
        self.runner.abandon()

    @property
    def _surrogates(self) -> Surrogates:
        return self._known_surrogates or Surrogates()

    def compared(self, transcript: Transcript) -> Transcript:
        return without_surrogates(transcript, self._surrogates)

    def serial_outcomes(self, transcript: Transcript) -> SerialOutcomes:
        return self._serial[POSITIONS in transcript.final]

    def is_false_positive(self, verdict: Verdict) -> bool:
        """Never called: functions are run at one level only."""
        return False

    # -- one function after another

    def _run_serially(self, positions: bool, order: Schedule) -> Transcript:
        found = self._run_in_order(order, serially=True)
        final = {name: one for name, one in found.final.items() if positions or name != POSITIONS}
        return self.compared(replace(found, final=final))

    def _run_in_order(self, order: Schedule, *, serially: bool = False) -> Transcript:
        """Runs one function after another, each from its beginning to its end, or as far as it comes by itself; keys of
        Redis expire in between.

        Raises NoSuchOrder where one does not come to its end, and that is asked for.
        """
        names = [name for name in order.steps if not (self.faults and is_expiry(name))]
        spec = replace(self._spec, sessions=tuple(self._spec.session(name) for name in names))
        try:
            execution = self._begin(spec, {name: self.functions[name] for name in names})
            memory = self._memory or Memory(())
            memory.begin()
            for name in order.steps:
                if name not in names:
                    execution.take(name)
                    continue
                execution.start(name)
                memory.look()
                while (able := execution.runnable()) and not (name in able and execution.needs_another(name)):
                    execution.take(name if name in able else able[0])
                    memory.look()  # a value that is restored in the end may have been read meanwhile
                if serially and execution.needs_another(name):
                    raise NoSuchOrder
            memory.look()
            return execution.finish()
        except BaseException:
            self.abandon()
            raise

    def learn(self) -> Memory:
        """Runs the functions in their order, twice, to learn which values differ by chance and what memory to track.

        In the reverse order where somebody waits for ever in this one. Raises Nondeterminism if anything else differs,
        and BadInput for a column that cannot be ignored.
        """
        order = Schedule(tuple(self.functions))
        opening: Transcript | None = None
        try:
            if self.content or self._elsewhere:  # the first run opens connections
                opening = self._run_in_order(order)
        except WaitsForEver:
            if len(self.functions) == 1:
                raise
            order = Schedule(order.steps[::-1])
            opening = self._run_in_order(order)
        except ScheduleError as error:
            raise type(error)(f"{error}.{self.troubles}" if self.troubles else str(error)) from error
        try:
            first = self._run_in_order(order)
        except NothingToOrder as error:
            if self.hides_memory:
                raise Nondeterminism(f"no session makes a round trip when run again. {_REMEMBERS}") from error
            raise
        self._memory = self._memory or Memory(
            [*self._here.values(), *self._functions_elsewhere()]
        )  # setups that run once have run
        self.check_ignored(first)
        second = self._run_in_order(order)
        self._known_surrogates = self._surrogates.learned(first, second)
        self.check_same_run(first, second)
        self.met = second
        if opening and self.hides_memory:  # what is remembered from the first time on is the same ever after
            self.check_same_run(opening, second, ends_alone=True)
        return self._memory

    @property
    def memory(self) -> Memory:
        """What `learn` has learned to track."""
        assert self._memory
        return self._memory

    def note_opaque(self) -> None:
        """From now on a function may touch whatever others touch."""
        self.is_opaque = True
        if self._effects:
            self._effects.note_opaque()

    def trace(self, memory: Memory) -> Trace:
        """One more run of the functions in their order, after `learn`, with all that they asked."""
        from zephyr_lab.explore.statement import footprints

        transcript = self._run_in_order(Schedule(tuple(self.functions)))
        assert self._execution
        trips = {name: tuple(one.log.all) for name, one in self._execution.sessions.items()}
        unseen = self.not_compared() or (("Python's memory: it cannot be inspected",) if memory.is_shared else ())
        ((shared,),) = self._ask(SHARED_NUMBERS)[0].rows
        return Trace(
            self.compared(transcript), trips, footprints(self._ask), unseen, self.hides_memory, bool(shared)
        )  # fmt: skip

    def _functions_elsewhere(self) -> Sequence[Function]:
        return self._elsewhere.functions if self._elsewhere else ()

    @property
    def hides_memory(self) -> bool:
        """Whether sessions may share memory that cannot be inspected."""
        return self._elsewhere is not None and self._elsewhere.hides_memory

    @property
    def troubles(self) -> str:
        """What may have kept sessions from their work, as a sentence, or ''."""
        return self._elsewhere.troubles() if self._elsewhere else ""

    @property
    def waits_inside(self) -> bool:
        """Whether sessions have waited inside their program, where who comes first depends on who is started first."""
        return self._elsewhere is not None and self._elsewhere.waits_inside()

    @property
    def unordered(self) -> str:
        """Why there may be orders that cannot be had, as a sentence; '' for nothing."""
        return self._elsewhere.unordered() if self._elsewhere else ""

    def learns_habits(self) -> bool:
        """Whether what was taken for a session's turns out to be asked by no session: it is told apart from now on."""
        return self._elsewhere is not None and self._elsewhere.learns_habits()

    def check_ignored(self, transcript: Transcript) -> None:
        """Raises BadInput if a column to be ignored does not exist."""
        check_ignored(transcript, self._ignore)

    def check_same_run(self, one: Transcript, two: Transcript, *, ends_alone: bool = False) -> None:
        """Raises Nondeterminism, naming the first difference, if two runs of one schedule differ."""
        try:
            check_same_run(one, two, self._surrogates, bool(self._ignore), ends_alone=ends_alone)
        except Nondeterminism as error:
            raise Nondeterminism(f"{error}. {_REMEMBERS}") if self.hides_memory else error from None

    def not_compared(self) -> tuple[str, ...]:
        """What sessions used that is in no outcome."""
        changed = {f"Python's memory: {name}" for name in self._memory.changed} if self._memory else set()
        seen = set(self._elsewhere.not_compared()) if self._elsewhere else set()
        return tuple(sorted(self._setup.outside | changed | seen))


_ALIKE = (bool, int, str, bytes, UUID, date, datetime, Decimal, type(None))


def _program(function: Any) -> Hashable:
    """The same for a function and itself, and for partials of it with equal arguments that are plain values."""
    if not isinstance(function, partial):
        return id(function)
    given = [*function.args, *(part for item in sorted(function.keywords.items()) for part in item)]
    if not all(type(one) in _ALIKE for one in given):
        return id(function)
    return id(function.func), len(function.args), tuple((type(one), one) for one in given)
