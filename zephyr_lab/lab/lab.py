"""The lab: servers, connections, and the verbs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg

from zephyr_lab.anomalies import CATALOGUE, Anomaly, Cell, Matrix, anomaly
from zephyr_lab.errors import BadInput
from zephyr_lab.explore.counterexample import Counterexample
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Invariant
from zephyr_lab.explore.verdict import Verdict
from zephyr_lab.extras import needed_by
from zephyr_lab.functions.answers import Answers, Refusal
from zephyr_lab.functions.arguments import name_of
from zephyr_lab.functions.distributed import Elsewhere
from zephyr_lab.functions.executor import FunctionExecutor
from zephyr_lab.functions.explorer import FunctionExplorer, by_session
from zephyr_lab.functions.scheduled import Elsewhere as Scheduling
from zephyr_lab.functions.session import Function
from zephyr_lab.functions.setup import Setup
from zephyr_lab.functions.values import Compare
from zephyr_lab.lab.case import Case, cases, load_case, measure_there
from zephyr_lab.lab.engine import Engine, Opening
from zephyr_lab.options import RUN_OPTIONS, ExploreOptions, RunOptions
from zephyr_lab.schedule import hermitage, isolationtester, specfile
from zephyr_lab.schedule.hermitage import Documented
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.workspace import STEP_SECONDS

if TYPE_CHECKING:
    import pandas as pd
    import redis

    from zephyr_lab.explore.recording import Recording
    from zephyr_lab.hunt.report import Hunt
    from zephyr_lab.load import Incident, Progress, Report
    from zephyr_lab.load.claims import Claim
    from zephyr_lab.load.claims import Table as Claims
    from zephyr_lab.schedule.terminals import Terminals
    from zephyr_lab.wire.app import Application
    from zephyr_lab.wire.command import Command
    from zephyr_lab.wire.command_line import Words
    from zephyr_lab.wire.description import Description
    from zephyr_lab.wire.proxy import Wire
    from zephyr_lab.wire.service import Service
    from zephyr_lab.workers.pool import Workers


class Lab:
    """A real PostgreSQL, and a real Valkey or Redis when asked for, until `close()` or the end of the process.

        with Lab() as lab:
            lab.case("lost-update", isolation="repeatable read").run("A B A B A B")

    `pg_dsn`, `pg_bin` and `redis_url` default to ZEPHYR_LAB_PG_DSN, ZEPHYR_LAB_PG_BIN and ZEPHYR_LAB_REDIS_URL;
    without them the lab starts servers of its own from wheels. On an external server it works in a schema
    `zephyr_lab_<id>` that it removes, and touches nothing else. With ZEPHYR_LAB_OBSERVE set, `Case.run` reads the
    committed rows after every step, and transcripts are displayed as steppers. `step_seconds` limits a step that waits
    for no other session. Raises ServerUnavailable, with the remedy.
    """

    def __init__(
        self,
        *,
        pg_dsn: str | None = None,
        pg_bin: str | None = None,
        redis_url: str | None = None,
        step_seconds: float = STEP_SECONDS,
    ) -> None:
        # Arguments override the environment.
        dsn = pg_dsn or (None if pg_bin else os.environ.get("ZEPHYR_LAB_PG_DSN"))
        self.engine = Engine(
            Opening(dsn, pg_bin or os.environ.get("ZEPHYR_LAB_PG_BIN"), step_seconds),
            redis_url or os.environ.get("ZEPHYR_LAB_REDIS_URL"),
            observed=bool(os.environ.get("ZEPHYR_LAB_OBSERVE")),
        )

    @classmethod
    def on(cls, engine: Engine) -> Lab:
        """A lab on an engine that is open, and is closed by whoever opened it."""
        lab = cls.__new__(cls)
        lab.engine = engine
        return lab

    # -- facts, cases, connections

    @property
    def server(self) -> str:
        """The server's name and version, such as `PostgreSQL 18.6`."""
        return self.engine.database.facts.version_name

    def cases(self) -> list[str]:
        """The names of the cases that come with the lab."""
        return cases()

    def case(self, name: str | Path | Spec, isolation: Any = IsolationLevel.READ_COMMITTED) -> Case:
        """A case by its name, or a `.spec` file or spec of yours, at an isolation level. Raises BadInput."""
        spec = name if isinstance(name, Spec) else load_case(name)
        return Case(self.engine, spec, IsolationLevel.of(isolation))

    def connect(self) -> psycopg.Connection:
        """An ordinary psycopg connection (autocommit) into the lab's schema; yours to close. Raises ServerLost."""
        self.engine.ensure_open()
        connection = self.engine.database.connect()
        self.engine.runner.workspace.disturbed_by(connection)
        return connection

    def conninfo(self, **settings: str) -> str:
        """A DSN, password included, into the lab's schema, for a pool or another process. Raises ServerLost."""
        self.engine.ensure_open()
        return self.engine.database.conninfo("lab", **settings)

    @property
    def redis(self) -> redis.Redis:
        """A client of the lab's Valkey, or of your Redis; the first use starts it. Commands are never sent twice."""
        self.engine.ensure_open()
        return self.engine.keyvalue.client

    @property
    def redis_url(self) -> str:
        """The URL of the lab's Redis, password included; the first use starts it. Raises ServerLost."""
        self.engine.ensure_open()
        return self.engine.keyvalue.url

    @property
    def redis_prefix(self) -> str:
        """The prefix of every key; on an external Redis, keys with this prefix are deleted in the end."""
        return self.engine.keyvalue.prefix

    # -- verbs

    def explore(
        self,
        functions: Sequence[Function] | Mapping[str, Function],
        *,
        setup: Setup = "",
        isolation: Any = IsolationLevel.READ_COMMITTED,
        invariant: Invariant | None = None,
        samples: int | None = None,
        seed: int = 0,
        budget: float | None = None,
        jobs: int = 1,
        checkpoint: str | Path | None = None,
        executor: Executor | None = None,
        shrink: bool = True,
        on_progress: Callable[[Exploration], None] | None = None,
        ignore: Sequence[str] = (),
        compare: Compare | None = None,
        refusals: Sequence[Refusal] = (),
        retry: bool = False,
        faults: Mapping[str, int] | Sequence[str] | None = None,
        time: int = 0,
        reduction: bool | None = None,
        symmetry: bool | None = None,
        step_seconds: float | None = None,
        may_raise: bool = False,
    ) -> Exploration:
        """Runs functions in every order of their round trips, and judges each outcome by the serial ones.

        Each function is a session (A, B, ... or the mapping's keys), synchronous or not. Its arguments follow from its
        parameters, by annotation or name: a psycopg connection (any other name), a Redis client (`redis`), a pool
        (`pool`), a SQLAlchemy engine or ORM session (`engine`, `session`). What it returns or raises is part of the
        outcome, beside the final rows and the content of the lab's Redis, if that is used. A function that ends with
        40001 or 40P01 was aborted. The transaction of a connection is committed when the function returns and rolled
        back when it raises. `setup` is SQL or a function with such parameters, or a list of these; every schedule
        begins with its result in an empty schema (and an empty Redis). A function is run before every schedule; for
        SQL, and a function passed as `once(function)`, rows are restored. Tables are analysed. Columns that a sequence,
        a clock or chance fills in by default, and those in `ignore` (such as `orders.created_at`), are left out of the
        outcome. Sleeps return at once. Returned and raised values are compared by structure; an object of an unknown
        class is refused, unless `compare` turns it into plain data (`{Ticket: vars}`). A function that ends in one of
        `refusals` (an exception's class, an SQLSTATE, or a predicate on the returned value) was refused, as by 40001;
        with `retry`, refused functions are run again after the schedule, and the final outcome is judged.
        `counterexample` can be replayed, exported for others, and displays itself; `shrink=False` skips the search for
        the fewest switches.
        `explanation` is its name, if it has one, and the level that refuses it, if any does.

        Up to 200 schedules are run exhaustively; beyond that, one of those that differ only in the order of independent
        round trips, unless `reduction` is False, or in the names of sessions with the same function, as for a case.
        `samples`, `seed`, `budget`, `checkpoint` and `on_progress` are as for a case, and so is `step_seconds`, up to
        six. So are `jobs` and `executor`: functions travel there, with what they hold (by cloudpickle, where it is
        installed), but for requests to a program of this process's.

        `not_compared` of the result names what functions used that is in no outcome: files, messages.

        With `faults`, such as `{"crash": 1}`, a schedule may also have at most so many steps at which a session dies
        (`A:crash` in a schedule), the answer to a COMMIT or another write is lost (`lost-commit`), or a Redis command
        times out that was carried out (`redis-timeout`). A session that has died, or ended with an error then, may have
        happened wholly or not at all, in PostgreSQL and Redis together; anything else is anomalous. With `retry` its
        caller calls it again at once, and it must have happened exactly once. With `time`, the clock has at most so
        many steps: a Redis key that has a time to live expires (`time:lock:18`; else its time stands still), or the
        wait of a session for a lock ends by its lock_timeout or statement_timeout, of at most ten seconds
        (`A:timeout`).

        Raises NothingTested if every function raises an error in every schedule, unless it `may_raise`; Nondeterminism
        if a function does not depend on its schedule alone; StepTimeout if it makes no round trip for long (if the
        server is executing one, the schedule is undecided, unless it is a serial one); ScheduleError for an endless
        retry or a second connection.
        """
        self.engine.ensure_open()
        options = ExploreOptions(
            isolation=isolation, setup=setup, invariant=invariant, ignore=ignore, compare=compare, refusals=refusals,
            retry=retry, faults=faults, time=time, samples=samples, seed=seed, budget=budget, reduction=reduction,
            symmetry=symmetry, jobs=jobs, checkpoint=checkpoint, step_seconds=step_seconds, shrink=shrink,
            may_raise=may_raise,
        ).check()  # fmt: skip
        explorer = self.function_explorer(functions, **options.part(RUN_OPTIONS))
        with self.engine.workers(executor, jobs) as workers:
            if workers or checkpoint:
                explorer.elsewhere = self._workers_search(by_session(functions), workers, checkpoint)
            found = explorer.judge(options, on_progress)
        if found.counterexample:
            found.counterexample.written_by(partial(_export, self.engine, explorer, found))
        return found

    def replay(self, functions: Sequence[Function] | Mapping[str, Function], schedule: str, **options: Any) -> Verdict:
        """Runs one schedule of functions, such as `A B B A`, and judges its outcome; else as `explore`.

        Of its options it takes `setup`, `isolation`, `invariant`, `ignore`, `compare`, `refusals`, `retry`, `faults`
        and `time`. Functions may have changed since the schedule was printed: a turn of a session that waits or has
        ended is skipped, and after the schedule the sessions run to their ends. `transcript.schedule` is what was run.
        Raises BadInput.
        """
        self.engine.ensure_open()
        return self.function_explorer(functions, **options).follow(schedule)

    def hunt(
        self,
        operations: Mapping[str, Function],
        *,
        triples: bool = False,
        budget: float | None = None,
        jobs: int = 1,
        export: str | Path | None = None,
        history: str | Path | None = None,
        executor: Executor | None = None,
        on_progress: Callable[[Hunt], None] | None = None,
        **options: Any,
    ) -> Hunt:
        """Finds the pairs that race among `operations`: functions, or requests, by name, as `explore` takes them.

            print(lab.hunt({"book": book, "cancel": cancel, "report": report}, setup=SCHEMA, budget=60))

        Each is run alone first; one that fails so is run after another with which it works, and hunted so. Pairs, each
        with itself too, that touch nothing in common are safe; the others are explored, the most suspicious first,
        until one schedule is anomalous. With `triples`, those of which no pair races are explored, too. `budget` is in
        seconds, for all of them. `jobs` processes, or the workers of an `executor`, have a lab of their own each, where
        functions travel to, as for `explore`. Requests to a service may share memory that is not seen, so that none of
        them are taken to be independent, but with `reduction=True`. Any other option is that of `explore`, for each
        pair.

        `export` is a folder: each race is written there for others, as `book+cancel.html`, `.spec`, `.sql` and `.py`,
        as far as these can hold it; `history` is one for `book+book.edn`, which `zephyr-lab check` and Elle read, where
        all of a race is known to be reads and writes of rows by primary keys. `on_progress` gets the state after each
        pair. Raises BadInput, SetupFailed, ServerLost, ServerUnavailable.
        """
        from zephyr_lab.hunt.workers import Elsewhere
        from zephyr_lab.lab.hunting import hunt  # its parser takes as long to import as all the rest

        self.engine.ensure_open()
        ExploreOptions(jobs=jobs).check()
        folders = [None if one is None else Path(one) for one in (export, history)]
        with self.engine.workers(executor, jobs) as workers:
            elsewhere = Elsewhere(workers, self.engine.elsewhere, Lab.on, executor is not None) if workers else None
            return hunt(
                self, operations, options, elsewhere=elsewhere, triples=triples, budget=budget, export=folders[0],
                history=folders[1], on_progress=on_progress,
            )  # fmt: skip

    def function_explorer(
        self, functions: Sequence[Function] | Mapping[str, Function], **options: Any
    ) -> FunctionExplorer:
        """The explorer behind `explore`, which can also replay and judge single schedules; options as of `replay`.

        Raises BadInput.
        """
        run, named = RunOptions(**options).check(), by_session(functions)
        answers = Answers(run.compare or {}, run.refusals)
        elsewhere = self._works(named, answers)  # may start Redis
        executor = partial(
            FunctionExecutor, self.engine.runner, named, answers=answers,
            keyvalue=lambda: self.engine.keyvalue, uses_redis=self.engine.has_keyvalue, elsewhere=elsewhere,
        )  # fmt: skip
        return FunctionExplorer(executor, run)

    @property
    def wire(self) -> Wire:
        """The lab's sockets, for programs of any kind: `wire.dsn`, `wire.redis_url`. Raises ServerLost."""
        self.engine.ensure_open()
        return self.engine.wire

    def service(self, command: Words | Description, **options: Any) -> Service:
        """Starts a program that serves HTTP on the lab's servers, to explore requests to it; options as `Service` has.

            with lab.service("./shop") as shop:
                lab.explore([shop.post("/orders", json=order) for order in orders], setup=SCHEMA)

        Raises BadInput, ServerUnavailable.
        """
        from zephyr_lab.wire.service import Service

        given = {"command": command} if isinstance(command, str | Sequence) else command.options
        service = Service(self.wire, **{**given, **options})
        self.engine.close_with(service.close)
        return service

    def command(self, command: Words, **options: Any) -> Command:
        """A program as a session, a process for each schedule or one that is kept; options as `Command` has.

            lab.explore([lab.command("./expire"), lab.command(["psql", "-c", SQL], redis=False)], setup=SCHEMA)

        Raises BadInput.
        """
        from zephyr_lab.wire.command import Command

        return Command(self.wire, command, **options)

    def app(self, app: Callable[..., Any], **options: Any) -> Application:
        """An ASGI or WSGI app of this process, to explore requests to it; options as `Application` has.

            shop = lab.app(api)  # which connects by lab.wire.dsn, or lab.wire.url("postgresql+asyncpg")
            lab.explore([shop.post("/orders", json=order) for order in orders], setup=SCHEMA)

        Raises BadInput, ServerUnavailable.
        """
        from zephyr_lab.wire.app import Application

        made = Application(self.wire, app, **options)
        self.engine.close_with(made.close)
        return made

    def _workers_search(
        self, functions: Mapping[str, Function], workers: Workers | None, checkpoint: str | Path | None
    ) -> Elsewhere:
        from zephyr_lab.wire.works import is_wired

        if wired := [name for name, one in functions.items() if is_wired(one)]:
            raise BadInput(
                f"session {wired[0]} ({name_of(functions[wired[0]])}) is asked of a program that runs for this process "
                "only: leave out jobs=, executor= and checkpoint="
            )
        return Elsewhere(functions, Lab.on, self.engine.elsewhere, workers, Path(checkpoint) if checkpoint else None)

    def _works(self, functions: Mapping[str, Function], answers: Answers) -> Scheduling | None:
        """Creates the sessions at the wire, if there are any."""
        from zephyr_lab.wire.works import Works, is_wired

        wired = {name: one for name, one in functions.items() if is_wired(one)}
        return Works(self.engine.wire, wired, answers) if wired else None

    def run_beside(self, title: str, call: Callable[[], Any]) -> Any:
        """Runs something of yours as a setup is run: connections that it opens lead to the lab's schema.

        `title` names it in messages. Raises what it raises, and ScheduleError for a driver that the lab cannot control.
        """
        from zephyr_lab.functions.beside import run_beside

        self.engine.ensure_open()
        return run_beside(title, call, self.engine.database)

    def terminals(self, setup: str = "", isolation: Any = IsolationLevel.READ_COMMITTED) -> Terminals:
        """Interactive sessions, one statement at a time, in a schema created by `setup`.

            two = lab.terminals("create table slots (booked int); insert into slots values (0)")
            two.send("A", "begin; update slots set booked = booked + 1")
            two.send("B", "update slots set booked = booked + 1")  # waits for A (transactionid, slots)
            two.send("A", "commit")  # A: ok; B resumes: 1 row

        They end when another schedule runs on this lab. Raises BadInput, SetupFailed, ServerLost.
        """
        from zephyr_lab.schedule.terminals import Terminals  # its parser takes as long to import as all the rest

        self.engine.ensure_open()
        return Terminals(self.engine.runner, setup, isolation)

    def record(
        self,
        workload: str = "list-append",
        isolation: Any = IsolationLevel.SERIALIZABLE,
        *,
        sessions: int = 4,
        seconds: float | None = None,
        transactions: int | None = None,
        keys: int = 5,
        operations: int = 4,
        seed: int = 0,
    ) -> Recording:
        """Records random transactions of concurrent sessions, as a history; then `.check()` it.

        `workload` is list-append or rw-register; `seconds` or a number of `transactions` (200) ends it. Sessions race
        freely: another run gives another history. Raises BadInput.
        """
        with needed_by("Lab.record"):
            from zephyr_lab.explore.recording import record  # numpy takes as long to import as all the rest

        self.engine.ensure_open()
        return record(
            self.connect, workload=workload, isolation=isolation, sessions=sessions, seconds=seconds,
            transactions=transactions, keys=keys, operations=operations, seed=seed,
        )  # fmt: skip

    def isolationtester(
        self, file: str | Path, write: Callable[[str], object], *, extensions: Sequence[str] = ()
    ) -> None:
        """Runs a spec file as PostgreSQL's isolationtester does, and gives `write` what that prints, byte for byte.

        `extensions`, such as `pgrowlocks`, are created first, on an embedded server only. A block of setup or teardown
        may take `step_seconds`, as a step; isolationtester has no such limit. Raises BadInput, SetupFailed,
        StepTimeout.
        """
        self.engine.ensure_open()
        spec = specfile.read(Path(file))
        self.engine.runner.workspace.check_bounds(spec)
        self.engine.database.make_isolationtester_database(extensions)
        isolationtester.run(
            spec,
            lambda session: self.engine.database.open_as_isolationtester(spec.name, session),
            write,
            self.engine.runner.step_seconds,
        )

    def hermitage(self, file: str | Path) -> list[tuple[Documented, list[str]]]:
        """Replays the tests that a Markdown file documents, each with its differences. Raises BadInput."""
        self.engine.ensure_open()
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from None
        tests = hermitage.parse(text, source=str(file))
        level = IsolationLevel.READ_COMMITTED
        return [(test, test.differences(self.engine.runner.run(test.spec, test.schedule, level))) for test in tests]

    def matrix(
        self,
        anomalies: Iterable[str] | None = None,
        on_progress: Callable[[Anomaly, IsolationLevel], None] | None = None,
        *,
        jobs: int = 1,
        executor: Executor | None = None,
    ) -> Matrix:
        """Runs all schedules of every anomaly of the catalogue, or of those named, at every level.

        `jobs` processes, or the workers of an `executor`, share the cells, as in `Case.explore`. `on_progress` is
        called after each cell. Raises BadInput for an unknown anomaly, and ServerLost.
        """
        self.engine.ensure_open()
        ExploreOptions(jobs=jobs).check()
        wanted = CATALOGUE if anomalies is None else [anomaly(name) for name in anomalies]
        cases = {(one.name, level): self.case(one.case, level) for one in wanted for level in IsolationLevel}
        cells: dict[tuple[str, IsolationLevel], Cell] = {}
        with self.engine.workers(executor, jobs) as workers:
            if workers:
                for name, case in cases.items():
                    workers.give(name, measure_there, self.engine.elsewhere, case.spec, case.isolation)
            for key, case in cases.items():
                if workers:
                    key, (found, verdict) = workers.take()
                    cells[key] = Cell(*cases[key].restored(found, verdict))
                else:
                    cells[key] = Cell(*case.measure())
                if on_progress:
                    on_progress(anomaly(key[0]), key[1])
        return Matrix(self.server, {key: cells[key] for key in cases})

    def incident(
        self,
        incident: Incident,
        on_progress: Callable[[Progress], object] = lambda progress: None,
        *,
        yes_load_this_database: bool = False,
        executor: Executor | None = None,
        history: Path | None = None,
    ) -> Report:
        """Puts the order service under load, in the lab's schema and Valkey, which are emptied first.

        `on_progress` gets the progress some times a second. An interrupt ends it with the report so far. An external
        server is loaded only on request. With an `executor` of Dask's each of its workers is a client, with its share
        of the orders, from one instant on; the offsets of their clocks are in the report. `history` is a file for its
        orders, in the form of `zephyr-lab check`. Raises BadInput.
        """
        with needed_by("Lab.incident", "load"):
            from zephyr_lab.load import Place, run
            from zephyr_lab.load.history import check_path

        if history is not None:
            check_path(history)
        self.engine.ensure_open()
        self.engine.runner.workspace.forget()
        place = Place(
            self.engine.database,
            lambda: self.engine.keyvalue,
            self.engine.idle,
            yes_load_this_database,
            executor,
            history,
        )
        report = run(incident, place, on_progress)
        if incident.kill is not None:
            self.engine.runner.connect_again()
        return report

    def claims(
        self,
        numbers: Sequence[int] = (),
        *,
        rate: float | None = None,
        seconds: float | None = None,
        on_progress: Callable[[Claim], object] = lambda claim: None,
    ) -> Claims:
        """Decides the write-up's claims by running: those with these numbers, or all. On an embedded server.

        Raises BadInput.
        """
        with needed_by("Lab.claims", "course"):
            from zephyr_lab.load import claims, finding

        self.engine.ensure_open()
        if not self.engine.database.is_embedded:
            raise BadInput("claims are decided on a server of the lab's own: unset ZEPHYR_LAB_PG_DSN")
        claims.check(numbers)
        bench = finding.Bench(
            self.incident, self.connect, lambda: self.engine.keyvalue, rate or finding.RATE, seconds or finding.SECONDS
        )
        return claims.decide(bench, self.server, numbers, on_progress)

    def runbook(self, question: str, **about: Any) -> pd.DataFrame:
        """Asks the lab's server a question of the runbook, such as `who-blocks-whom`; `about` as `Runbook` takes it.

        `session` is then the session's name in its case. Raises BadInput, QuestionFailed.
        """
        from zephyr_lab.runbook import Runbook

        self.engine.ensure_open()
        with self.engine.database.connect("runbook") as connection:
            answer = Runbook(connection, **about).ask(question)
        if "session" in answer:
            answer["session"] = answer["session"].str.removeprefix(f"{self.engine.database.schema} ")
        return answer

    def close(self) -> None:
        """Ends the sessions, removes the schema, stops the servers. Safe to call twice."""
        self.engine.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _export(engine: Engine, explorer: FunctionExplorer, found: Exploration, shown: Counterexample, path: Path) -> None:
    from zephyr_lab.share.export import export  # on first use: pages, and a parser of specs
    from zephyr_lab.share.of_functions import of_functions

    engine.ensure_open()
    export(lambda: of_functions(explorer, shown, found.explanation, engine.opening.pg_bin), path)
