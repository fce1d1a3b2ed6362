"""A case: a spec at an isolation level, on a lab; its verbs, and the named cases."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zephyr_lab.anomalies import CATALOGUE, Anomaly, anomaly
from zephyr_lab.errors import BadInput, Presumed, ScheduleError
from zephyr_lab.explore.checkpoint import Checkpoint, header
from zephyr_lab.explore.counterexample import Counterexample, explain
from zephyr_lab.explore.effect import names_a_level
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Explorer, Invariant
from zephyr_lab.explore.fewest_switches import easier_than, fewest_switches
from zephyr_lab.explore.parallel import Distributed, SpecSearch, sliced
from zephyr_lab.explore.selection import Selection, alike
from zephyr_lab.explore.spec_executor import SpecExecutor
from zephyr_lab.explore.verdict import SerialOutcomes, Verdict, judge
from zephyr_lab.extras import needed_by
from zephyr_lab.lab.engine import Engine, OpenEngine
from zephyr_lab.options import ExploreOptions
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Spec
from zephyr_lab.schedule.transcript import Event, Transcript
from zephyr_lab.shipped import shipped
from zephyr_lab.workers.kept import KEPT
from zephyr_lab.workers.packed import digest, packed

if TYPE_CHECKING:
    from zephyr_lab.views.stepper import Stepper
    from zephyr_lab.workers.pool import Workers

_DIFFERENT = (IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)


class Case:
    """A spec at an isolation level, on a lab."""

    def __init__(self, engine: Engine, spec: Spec, isolation: IsolationLevel) -> None:
        self.engine = engine
        self.spec = spec
        self.isolation = isolation

    def at(self, isolation: Any) -> Case:
        """The same case at another level."""
        return Case(self.engine, self.spec, IsolationLevel.of(isolation))

    def change(self, **steps: str) -> Case:
        """The same case with other SQL in some steps: `change(A_read="select ... for update")`. Raises BadInput."""
        return Case(self.engine, self.spec.with_steps(steps), self.isolation)

    @property
    def anomaly(self) -> Anomaly:
        """The catalogue's entry for this case. Raises BadInput for a case that has none."""
        return next((one for one in CATALOGUE if one.case == self.spec.name), None) or anomaly(self.spec.name)

    @property
    def expected(self) -> str:
        """The catalogue's expectation for all schedules of the case at this level, such as `aborts 40001`."""
        return str(self.anomaly.expected[self.isolation])

    def schedule(self, words: str | Sequence[str] | None = None) -> Schedule:
        """Parses a schedule; without words the case's first permutation, else its sessions one after another."""
        if words is not None:
            return Schedule.parse(words, self.spec)
        if self.spec.permutations:
            return Schedule.of(self.spec.permutations[0])
        return Schedule.serial(self.spec, self.spec.session_names)

    def run(self, schedule: str | Sequence[str] | None = None, *, victim: str | None = None) -> Transcript:
        """Runs a schedule, such as `"A B A B A B"`. Raises BadInput, ScheduleError, StepTimeout, SetupFailed."""
        words = self.schedule(schedule)
        self.engine.ensure_open()
        observed = self.engine.observed
        return self.engine.runner.run(self.spec, words, self.isolation, victim=victim, observed=observed)

    @contextlib.contextmanager
    def hold(self, schedule: str | Sequence[str] | None = None) -> Iterator[tuple[Event, ...]]:
        """Carries out a schedule and leaves its sessions as they are, open or waiting, while the `with` block lasts.

        To inspect a blocked server: `with case.hold("A B"): lab.runbook("who-blocks-whom")`. Gives the transcript so
        far. Transactions are rolled back in the end. Raises as `run` does, and ScheduleError for a run inside the
        block.
        """
        words = self.schedule(schedule)
        self.engine.ensure_open()
        with self.engine.runner.hold(self.spec, words, self.isolation) as execution:
            yield tuple(execution.events)

    def verdict(
        self,
        schedule: str | Sequence[str] | None = None,
        *,
        victim: str | None = None,
        whole_sessions: bool = False,
    ) -> Verdict:
        """Runs a schedule, then every serial order of its committed transactions, and compares.

        `whole_sessions`: each session is one piece of work, so that its transactions follow each other in those orders.
        """
        runner = self.engine.runner
        serial = SerialOutcomes(
            lambda order: runner.run(self.spec, order, self.isolation), whole_sessions=whole_sessions
        )
        return judge(self.run(schedule, victim=victim), serial)

    def stepper(
        self, *, levels: Sequence[Any] | None = None, schedules: Sequence[str | Sequence[str]] | None = None
    ) -> Stepper:
        """Steps through the case in the browser, with a choice of levels and schedules.

        Without `levels` the case's own and the others that differ (READ UNCOMMITTED is READ COMMITTED); without
        `schedules` the case's own one. Each is run once, observed: committed rows are read after every step. A schedule
        that is not possible at a level is shown as such. Raises BadInput.
        """
        with needed_by("the stepper"):
            from zephyr_lab.views.stepper import stepper

        chosen = [self.isolation, *_DIFFERENT] if levels is None else [IsolationLevel.of(one) for one in levels]
        orders = [self.schedule(words) for words in ([None] if schedules is None else schedules)]
        self.engine.ensure_open()
        told, refused = [], []
        for level in dict.fromkeys(chosen):
            for order in dict.fromkeys(orders):
                try:
                    told.append(self.engine.runner.run(self.spec, order, level, observed=True))
                except ScheduleError as error:
                    why = str(error).partition(" Replay up to here")[0]
                    refused.append({"level": str(level), "schedule": order.text(self.spec), "refused": why})
        if not told:
            raise BadInput(f"there is nothing to step through: {refused[0]['refused'] if refused else 'no schedule'}")
        return stepper(told, refused)

    def example(
        self,
        schedule: str | Sequence[str] | None = None,
        *,
        victim: str | None = None,
        whole_sessions: bool = False,
    ) -> Counterexample:
        """A schedule, run and judged as by `verdict`: to be displayed, replayed, exported, as a counterexample is."""
        verdict = self.verdict(schedule, victim=victim, whole_sessions=whole_sessions)
        return self._counterexample(verdict.transcript.schedule, verdict)

    def with_sessions(self, number: int) -> Case:
        """The same case with more sessions, as copies of its last one, or with fewer. Raises BadInput."""
        return Case(self.engine, self.spec.with_sessions(number), self.isolation)

    def explore(
        self,
        *,
        reduction: bool | None = None,
        symmetry: bool | None = None,
        samples: int | None = None,
        seed: int = 0,
        depth: int | None = None,
        budget: float | None = None,
        jobs: int = 1,
        checkpoint: str | Path | None = None,
        executor: Executor | None = None,
        invariant: Invariant | None = None,
        step_seconds: float | None = None,
        shrink: bool = True,
        on_progress: Callable[[Exploration], None] | None = None,
    ) -> Exploration:
        """Runs every schedule that the server admits, and judges each by the serial ones.

        Of schedules that differ only in the order of independent steps one is run, unless `reduction` is False, and of
        those that differ only in the names of sessions with the same SQL, if these are three or `symmetry` is True.
        With `samples` that many random ones are run instead; `depth` draws them by PCT. `jobs` processes, or an
        `executor`'s workers (as of `concurrent.futures`, Dask's too), share the work, each with its own database. With
        `checkpoint`, a file, a search that was stopped goes on. `invariant` is a query for true, or a function of a
        transcript, reported beside the verdicts. `shrink` looks for the counterexample with the fewest switches.
        `budget` is in seconds; `on_progress` gets the state now and then. An interrupt ends the search with what was
        found so far. A step that takes more than `step_seconds` (else the lab's) without waiting for a session is
        cancelled, and its schedule undecided. Races inside one message are not visible. Raises BadInput,
        Nondeterminism, ServerLost.
        """
        self.engine.ensure_open()
        asked = ExploreOptions(
            reduction=reduction, symmetry=symmetry, samples=samples, seed=seed, depth=depth, budget=budget, jobs=jobs,
            checkpoint=checkpoint, invariant=invariant, step_seconds=step_seconds, shrink=shrink,
        ).check()  # fmt: skip
        deadline = None if budget is None else time.time() + budget
        same = alike(self.spec, False if callable(invariant) else symmetry)  # a function may tell sessions apart
        selection = Selection(reduction is not False, samples, seed, depth, same)
        with self.engine.runner.steps_within(step_seconds):
            explorer = self._explorer(invariant)
            found = self._explored(explorer, selection, asked, executor, on_progress)
            if found.anomalous:
                # After an interrupt the user does not wait for more.
                more = shrink and (found.complete or samples is not None)
                self._show_anomaly(explorer, found, shrink=more, deadline=deadline)
        return found

    def measure(self) -> tuple[Exploration, Verdict]:
        """All schedules, and the verdict on the case's own one: a cell of the matrix. Raises as `explore` does."""
        self.engine.ensure_open()
        explorer = self._explorer()  # runs the serial orders once for both
        found = explorer.explore(Selection(symmetry=alike(self.spec, None)).scheduler(self.spec))
        if found.anomalous:
            self._show_anomaly(explorer, found)
        return found, explorer.verdict(self.run())

    def restored(self, found: Exploration, verdict: Verdict) -> tuple[Exploration, Verdict]:
        """What a worker has measured, with a counterexample that can be run again here."""
        if found.counterexample is not None:
            self._show_anomaly(self._explorer(), found)
        return found, verdict

    def _explorer(self, invariant: Invariant | None = None) -> Explorer:
        return Explorer(SpecExecutor(self.engine.runner, self.spec, self.isolation), invariant)

    def _explored(
        self,
        explorer: Explorer,
        selection: Selection,
        asked: ExploreOptions,
        executor: Executor | None,
        on_progress: Callable[[Exploration], None] | None,
    ) -> Exploration:
        """What is found here, or by workers, or from a checkpoint on."""
        if asked.jobs == 1 and executor is None and asked.checkpoint is None:
            return explorer.explore(selection.scheduler(self.spec), on_progress, asked.budget)
        path = Path(asked.checkpoint) if asked.checkpoint else None
        known = header(path) if path else None
        selection = selection.known(known)
        with self.engine.workers(executor, asked.jobs) as workers:
            while True:
                try:
                    return self._distributed(explorer, selection, asked, workers).run(on_progress, asked.budget)
                except Presumed as presumed:
                    if path:
                        path.unlink(missing_ok=True)
                    selection = selection.without(presumed.what)

    def _distributed(
        self, explorer: Explorer, selection: Selection, asked: ExploreOptions, workers: Workers | None
    ) -> Distributed:
        invariant = asked.invariant
        data = packed({"invariant": invariant}, "or give it in SQL") if workers and callable(invariant) else None
        about = {
            "case": self.spec.name, "isolation": str(self.isolation), "sql": list(self.spec.blocks()),
            **selection.about(), "invariant": digest(invariant) if callable(invariant) else invariant,
            "server": self.engine.database.facts.version_name, "step_seconds": self.engine.runner.step_seconds,
        }  # fmt: skip
        return Distributed(
            SpecSearch(
                self.spec, self.isolation, selection, data or invariant, self.engine.runner.step_seconds,
                uuid.uuid4().hex,
            ),
            selection.all(),
            Exploration(self.spec.name, str(self.isolation), invariant=invariant is not None),
            lambda part, seconds: sliced(explorer.explore, selection.scheduler(self.spec, part), seconds),
            self.engine.elsewhere, workers,
            Checkpoint(Path(asked.checkpoint), about) if asked.checkpoint else None,
        )  # fmt: skip

    def _show_anomaly(
        self, explorer: Explorer, found: Exploration, *, shrink: bool = False, deadline: float | None = None
    ) -> None:
        """Adds a counterexample to an exploration; `shrink` looks for the one with the fewest switches."""
        assert found.easiest
        _, schedule = found.easiest
        if shrink:
            schedule = fewest_switches(explorer, found, deadline)
            if deadline is None or time.time() < deadline:
                found.explanation = self._explain(schedule)
        found.counterexample = self._counterexample(schedule, explorer.verdict(self._again(schedule)), found)

    def _again(self, schedule: str, isolation: IsolationLevel | None = None, *, observed: bool = False) -> Transcript:
        self.engine.ensure_open()
        words = Schedule.parse(schedule, self.spec)
        return self.engine.runner.run(self.spec, words, isolation or self.isolation, observed=observed)

    def _counterexample(self, schedule: str, verdict: Verdict, explored: Exploration | None = None) -> Counterexample:
        def write(shown: Counterexample, path: Path) -> None:
            from zephyr_lab.share.export import export  # on first use: pages, and a parser of specs
            from zephyr_lab.share.of_case import of_case

            self.engine.ensure_open()
            why = explored.explanation if explored else ()
            export(lambda: of_case(self.engine.runner, self.spec, self.isolation, shown, why), path)

        return Counterexample.of(schedule, verdict, self._again).written_by(write)

    def _explain(self, schedule: str) -> tuple[str, ...]:
        def judged(level: IsolationLevel) -> Verdict:
            serial = SerialOutcomes(lambda order: self.engine.runner.run(self.spec, order, level))
            return judge(self._again(schedule, level), serial)

        return explain(
            schedule, self.isolation, lambda: self._again(schedule, observed=True),
            None if names_a_level(self.spec) else judged,
        )  # fmt: skip

    def shrink(self, schedule: str | Sequence[str] | None = None) -> Counterexample:
        """An anomalous schedule with the fewest switches between sessions, at most those of the given one.

        Raises BadInput if the given one, or without one the case's own, is not anomalous.
        """
        explorer, given = self._explorer(), self.run(schedule)
        if not explorer.verdict(given).anomalous:
            raise BadInput(f"{given.schedule!r} is not anomalous at {self.isolation}: there is nothing to shrink")
        found, _ = easier_than(explorer, given.schedule, len(given.events) - 1)
        return self._counterexample(found, explorer.verdict(self._again(found)))

    def __repr__(self) -> str:
        return f"{self.spec.name} at {self.isolation}\n\n{self.spec.listing()}"


def measure_there(open_it: OpenEngine, spec: Spec, isolation: IsolationLevel) -> tuple[Exploration, Verdict]:
    """In a worker: as `Case.measure`."""
    with KEPT.opened(open_it) as engine:
        return Case(engine, spec, isolation).measure()


def cases() -> list[str]:
    """The names of the cases in sql/schedules."""
    return sorted(path.stem for path in shipped("sql", "schedules").glob("*.spec"))


def load_case(name: str | Path) -> Spec:
    """The spec of a case by its name, or of a `.spec` file. Raises BadInput, listing the names."""
    path = Path(name)
    if path.suffix == ".spec":
        return replace(specfile.read(path), file=str(path))
    if str(name) not in cases():
        raise BadInput(f"unknown case {str(name)!r}; there are: {', '.join(cases())}; or name a file ending in .spec")
    return specfile.read(shipped("sql", "schedules", f"{name}.spec"))
