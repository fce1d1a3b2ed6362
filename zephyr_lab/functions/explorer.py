"""Explores functions: every order of their round trips, judged by the serial orders."""

from __future__ import annotations

import builtins
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from string import ascii_uppercase
from typing import TYPE_CHECKING

from zephyr_lab.errors import BadInput, NothingTested
from zephyr_lab.explore.counterexample import Counterexample, explain
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Explorer, Invariant, OnProgress
from zephyr_lab.explore.fewest_switches import fewest_switches
from zephyr_lab.explore.replay import Following, Replay
from zephyr_lab.explore.scheduler import Nondeterminism, Scheduler
from zephyr_lab.explore.selection import Selection
from zephyr_lab.explore.symmetry import Symmetry, symmetry_of
from zephyr_lab.explore.verdict import Verdict
from zephyr_lab.functions.arguments import name_of
from zephyr_lab.functions.beside import Beside
from zephyr_lab.functions.effects import NotReducible, OpaqueMet
from zephyr_lab.functions.executor import FunctionExecutor
from zephyr_lab.functions.reproducible import WHY
from zephyr_lab.functions.session import Function
from zephyr_lab.functions.trace import Trace
from zephyr_lab.options import ExploreOptions, RunOptions
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.transcript import Transcript

if TYPE_CHECKING:
    from zephyr_lab.functions.content import Content
    from zephyr_lab.servers.database import Database


FEW = 200

Elsewhere = Callable[["FunctionExplorer", Selection, OnProgress | None, float | None], Exploration]


class _TooMany(Exception):
    """There are more schedules than are run exhaustively."""


class FunctionExplorer:
    """Explores functions at one level, or runs a single schedule; `executor` makes what carries them out.

    Raises BadInput.
    """

    def __init__(self, executor: Callable[[RunOptions], FunctionExecutor], options: RunOptions) -> None:
        self._make, self.options = executor, options
        self._executor = executor(options)
        self.functions, self.runner = self._executor.functions, self._executor.runner
        invariant: Invariant | None = options.invariant
        if invariant is not None and not isinstance(invariant, str):
            invariant = partial(_asked_beside, invariant, self._executor.runner.database, self._executor.content)
        self._explorer = Explorer(self._executor, invariant)
        self.intercepted = self._executor.intercepted
        self.elsewhere: Elsewhere | None = None  # what workers search, if there are any

    def _at(self, level: IsolationLevel) -> FunctionExplorer:
        other = FunctionExplorer(self._make, replace(self.options, isolation=level, invariant=None))
        other._executor.starts = self._executor.starts
        return other

    def judge(self, options: ExploreOptions, on_progress: OnProgress | None = None) -> Exploration:
        """As `Lab.explore`, which see for what it raises: explores, and looks into an anomaly."""
        deadline = None if options.budget is None else time.time() + options.budget
        with self._executor.runner.steps_within(options.step_seconds), self.intercepted():
            if options.samples is not None:
                found = self._run(Selection(False, options.samples, options.seed), on_progress, options.budget)
            else:
                found = self.search(options.reduction, on_progress, options.budget, symmetry=options.symmetry)
            if not (options.may_raise or found.anomalous or found.interrupted):
                self.check_tested(found)
            if found.anomalous and options.shrink:
                found.counterexample = self.counterexample(found, deadline)
                if not found.interrupted and (deadline is None or time.time() < deadline):
                    found.explanation = self.explain(found.counterexample)
        return found

    def explore(
        self, scheduler: Scheduler, on_progress: OnProgress | None = None, budget: float | None = None
    ) -> Exploration:
        """As for a spec. Raises Nondeterminism if the first schedule, run again, differs.

        Raises NotReducible if a scheduler needs effects and functions share state that effects do not cover.
        """
        with self.intercepted():
            self._executor.learn()
            return self.go_on(scheduler, on_progress, budget)

    @property
    def is_opaque(self) -> bool:
        """Whether a function was seen that may touch whatever others touch."""
        return self._executor.is_opaque

    @property
    def met(self) -> Transcript:
        """The functions one after another, as they were met."""
        assert self._executor.met
        return self._executor.met

    def meet(self, like: Transcript | None = None, *, opaque: bool = False) -> None:
        """Runs the functions one after another, before `go_on`; `opaque`: they were seen to touch what others touch.

        Raises Nondeterminism if that run is not `like` another process's.
        """
        with self.intercepted():
            self._executor.learn()
            if opaque:
                self._executor.note_opaque()
            if like:
                try:
                    self._executor.check_same_run(like, self.met)
                except Nondeterminism as error:
                    raise Nondeterminism(
                        f"a worker has other functions than this process, or other data in memory: {error}"
                    ) from error

    def go_on(
        self, scheduler: Scheduler, on_progress: OnProgress | None = None, budget: float | None = None
    ) -> Exploration:
        """As `explore`, after it or `meet`, without learning again how the functions run."""
        with self.intercepted():
            memory = self._executor.memory
            if scheduler.wants_effects and memory.is_shared:
                raise NotReducible
            try:
                found = self._explorer.explore(scheduler, on_progress, budget)
            except Nondeterminism as error:
                if why := self._executor.unordered:
                    raise Nondeterminism(f"{error}; {why}") from error
                raise
            if scheduler.wants_effects and memory.is_shared:
                raise NotReducible
            found.not_compared, found.unordered = self._executor.not_compared(), self._executor.unordered
            found.complete = found.complete and not found.unordered
            return found

    def search(
        self,
        reduction: bool | None,
        on_progress: OnProgress | None = None,
        budget: float | None = None,
        *,
        symmetry: bool | None = None,
    ) -> Exploration:
        """Explores all schedules: exhaustively if there are at most FEW, else with reduction, if that is possible.

        `reduction` True or False decides it, but for functions that rule it out. Requests to a service are reduced only
        on request: what they share in the service's memory is not visible. `symmetry` as of `symmetry_of`.
        """
        deadline = None if budget is None else time.monotonic() + budget
        same = symmetry_of(self._executor.programs(), False if callable(self.options.invariant) else symmetry)

        def search() -> Exploration:
            return self._search(reduction, same, on_progress, deadline)

        try:
            found = search()
        except Nondeterminism:
            if not self._executor.learns_habits():
                raise
            found = search()
        if self._executor.waits_inside and not (found.anomalous or found.interrupted):
            self._add_reverse(found, search)
        return found

    def _add_reverse(self, found: Exploration, search: Callable[[], Exploration]) -> None:
        """Adds the schedules in which the last session is started first: it comes first inside the program."""
        forward = self._executor.starts
        self._executor.starts = forward[::-1]
        try:
            other = search()
        except Nondeterminism as error:
            found.unordered += f"; started in the reverse order: {error}"
            self._executor.starts = forward
            return
        found.merge(other)
        found.interrupted, found.unordered = other.interrupted, other.unordered
        found.not_compared = other.not_compared
        found.seconds += other.seconds
        if other.anomalous:
            order = ", ".join(self._executor.starts)
            found.unordered += (
                f"; it is anomalous when they are started in the order {order}: hand them in by name, in this order, "
                "to replay a schedule"
            )
        else:
            self._executor.starts = forward

    def _search(
        self,
        reduction: bool | None,
        symmetry: Symmetry | None,
        on_progress: OnProgress | None,
        deadline: float | None,
    ) -> Exploration:
        def seconds() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        def run(*, reduced: bool) -> Exploration:
            return self._run(Selection(reduced, symmetry=symmetry if reduced else None), on_progress, seconds())

        def give_up_early(found: Exploration) -> None:
            if found.schedules > FEW:
                raise _TooMany
            if on_progress:
                on_progress(found)

        if self._executor.faults:  # what a fault has an effect on is not known
            return run(reduced=False)
        try:
            if reduction is None and not self._executor.hides_memory:
                with contextlib.suppress(_TooMany):
                    return self.explore(Exhaustive(), give_up_early, seconds())
            if reduction or (reduction is None and not self._executor.hides_memory):
                with contextlib.suppress(OpaqueMet):
                    return run(reduced=True)
                self._executor.note_opaque()
                return run(reduced=True)
        except NotReducible:
            pass
        return run(reduced=False)

    def _run(self, selection: Selection, on_progress: OnProgress | None, budget: float | None) -> Exploration:
        if self.elsewhere is not None:
            return self.elsewhere(self, selection, on_progress, budget)
        return self.explore(selection.scheduler(None), on_progress, budget)

    def check_tested(self, found: Exploration) -> None:
        """Raises NothingTested if every function raised in all schedules."""
        raised = found.raised_only()
        if raised and raised.keys() == self._executor.functions.keys():
            texts = [text for some in raised.values() for text in some]
            told = "; ".join(f"session {name} raised {' or '.join(texts)}" for name, texts in raised.items())
            raise NothingTested(
                f"{told}, in each of {found.schedules:,} schedules: nothing was tested. {_way_on(texts)}?"
                f"{self._executor.troubles} Say "
                "may_raise=True if that is intended"
            )

    def trace(self) -> Trace:
        """One serial run, with all that each session asked. Raises NothingToOrder, and else as `explore`."""
        with self.intercepted():
            return self._executor.trace(self._executor.learn())

    @contextlib.contextmanager
    def beginning(self) -> Iterator[None]:
        """Inside the block the schema holds what every schedule begins with. Raises SetupFailed."""
        with self.intercepted():
            self._executor.begin()
            try:
                yield
            finally:
                self._executor.abandon()

    def replay(self, schedule: str, *, observed: bool = False) -> Transcript:
        """Runs one schedule, as it was printed. Raises BadInput, and Nondeterminism if it cannot be reproduced."""
        replay = Replay(schedule)
        replay.new_execution()
        with self.intercepted():
            executed = self._explorer.execute(replay, observed=observed)
        assert executed
        return executed.transcript

    def follow(self, schedule: str) -> Verdict:
        """Runs a schedule as nearly as the functions allow, and judges it. Raises BadInput."""
        with self.intercepted():
            if self._executor.hides_memory:
                self._executor.learn()  # connections are open then, and it is known what each asks alone
            executed = self._explorer.execute(
                Following(schedule, tuple(self._executor.functions), bool(self._executor.faults))
            )
            assert executed
            self._executor.check_ignored(executed.transcript)
            return self._explorer.verdict(executed.transcript)

    def counterexample(self, found: Exploration, deadline: float | None = None) -> Counterexample:
        """An anomalous schedule with the fewest switches, if any was found. Raises Nondeterminism.

        The deadline (of time.time) ends the search for a better one; after an interrupt there is none.
        """
        if found.interrupted:
            deadline = 0.0
        with self.intercepted():
            schedule = fewest_switches(self._explorer, found, deadline)
            transcript = self.replay(schedule)
            self._executor.check_same_run(transcript, self.replay(schedule))
            verdict = self._explorer.verdict(transcript)
        if not verdict.anomalous:
            raise Nondeterminism(f"{schedule!r} was anomalous in one run, and not in the next. {WHY}")
        return Counterexample.of(schedule, replace(verdict, transcript=transcript), self.replay)

    def explain(self, schedule: str) -> tuple[str, ...]:
        """The name of an anomalous schedule's pattern with its remedies, and the level that refuses it."""
        with self.intercepted():
            return explain(
                schedule,
                self._executor.isolation,
                lambda: self.replay(schedule, observed=True),
                lambda level: self._at(level).follow(schedule),
            )


def by_session(functions: Sequence[Function] | Mapping[str, Function]) -> Mapping[str, Function]:
    """Functions by their sessions' names: A, B, ..., or those of a mapping. Raises BadInput."""
    if callable(functions) or not isinstance(functions, Iterable):
        raise BadInput("explore takes a list of functions, one for each session: [book, book]")
    some = functions if isinstance(functions, Mapping) else list(functions)
    if not some:
        raise BadInput("no functions to explore: give a list of functions that take a psycopg connection")
    if not isinstance(some, Mapping) and len(some) > len(ascii_uppercase):
        raise BadInput(f"{len(some)} functions are more than there are letters: name them, {{'A1': book, ...}}")
    named = some if isinstance(some, Mapping) else dict(zip(ascii_uppercase, some, strict=False))
    for name in named:
        if not isinstance(name, str) or name.split() != [name]:
            raise BadInput(f"a session's name is one word, for schedules such as 'A B B A', not {name!r}")
    return named


def _asked_beside(
    invariant: Callable[[Transcript], bool], database: Database, content: Content | None, transcript: Transcript
) -> bool:
    """The result of an invariant that is a function; connections that it opens lead to the lab's schema."""
    return bool(Beside(f"invariant {name_of(invariant)}", database, content).run(partial(invariant, transcript)))


_OF_PYTHON = tuple(name for name, one in vars(builtins).items() if isinstance(one, type))


def _way_on(raised: Sequence[str]) -> str:
    """Hints at what may be wrong if every function raised, by the errors' texts."""
    if any("UnicodeDecodeError" in text for text in raised):
        return (
            "The Redis client that is handed in decodes what it reads: for bytes ask for url = lab.redis_url "
            "beforehand, and have the function make its own, redis.Redis.from_url(url). Or is it something else"
        )
    if all(text.removeprefix("raised ").startswith(_OF_PYTHON) for text in raised):
        return "Is there a mistake in the function, or something missing in the setup"
    return "Is a name in the SQL wrong, or something missing in the setup"
