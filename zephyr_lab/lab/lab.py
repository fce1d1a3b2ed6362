"""The lab: servers and connections, and the verbs one says to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg

from zephyr_lab.anomalies import CATALOGUE, Anomaly, Cell, Matrix, anomaly
from zephyr_lab.errors import BadInput
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Invariant
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.verdict import Verdict
from zephyr_lab.extras import needed_by
from zephyr_lab.functions.answers import Answers, Refusal
from zephyr_lab.functions.explorer import FunctionExplorer
from zephyr_lab.functions.scheduled import Elsewhere
from zephyr_lab.functions.session import Function
from zephyr_lab.functions.setup import Setup
from zephyr_lab.functions.values import Compare
from zephyr_lab.lab.case import Case, cases, load_case
from zephyr_lab.lab.engine import Engine, Opening
from zephyr_lab.options import RUN_OPTIONS, ExploreOptions
from zephyr_lab.schedule import hermitage, isolationtester, specfile
from zephyr_lab.schedule.hermitage import Documented
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.workspace import STEP_SECONDS

if TYPE_CHECKING:
    import pandas as pd
    import redis

    from zephyr_lab.explore.recording import Recording
    from zephyr_lab.load import Incident, Progress, Report
    from zephyr_lab.load.claims import Claim
    from zephyr_lab.load.claims import Table as Claims
    from zephyr_lab.schedule.terminals import Terminals
    from zephyr_lab.wire.proxy import Wire
    from zephyr_lab.wire.service import Service


class Lab:
    """A real PostgreSQL, and a real Valkey or Redis when asked for, until `close()` or the end of the process.

        with Lab() as lab:
            lab.case("lost-update", isolation="repeatable read").run("A B A B A B")

    `pg_dsn`, `pg_bin` and `redis_url` default to ZEPHYR_LAB_PG_DSN, ZEPHYR_LAB_PG_BIN and ZEPHYR_LAB_REDIS_URL;
    without them the lab starts servers of its own from wheels. On a server of yours it works in a schema
    `zephyr_lab_<id>` that it removes, and touches nothing else. With ZEPHYR_LAB_OBSERVE set, `Case.run` looks after
    every step what is committed, and transcripts show themselves as steppers. `step_seconds` is how long a step may
    take that waits for no other session. Raises ServerUnavailable, with the remedy.
    """

    def __init__(
        self,
        *,
        pg_dsn: str | None = None,
        pg_bin: str | None = None,
        redis_url: str | None = None,
        step_seconds: float = STEP_SECONDS,
    ) -> None:
        # What is asked for here wins over the environment.
        dsn = pg_dsn or (None if pg_bin else os.environ.get("ZEPHYR_LAB_PG_DSN"))
        self.engine = Engine(
            Opening(dsn, pg_bin or os.environ.get("ZEPHYR_LAB_PG_BIN"), step_seconds),
            redis_url or os.environ.get("ZEPHYR_LAB_REDIS_URL"),
            observed=bool(os.environ.get("ZEPHYR_LAB_OBSERVE")),
        )

    # -- what there is

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
        """Where the lab's Redis is, password included; the first use starts it. Raises ServerLost."""
        self.engine.ensure_open()
        return self.engine.keyvalue.url

    @property
    def redis_prefix(self) -> str:
        """What every key must begin with; on a Redis of yours, keys with this prefix are deleted in the end."""
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
        shrink: bool = True,
        on_progress: Callable[[Exploration], None] | None = None,
        ignore: Sequence[str] = (),
        compare: Compare | None = None,
        refusals: Sequence[Refusal] = (),
        retry: bool = False,
        reduction: bool | None = None,
        step_seconds: float | None = None,
        may_raise: bool = False,
    ) -> Exploration:
        """Runs functions in every order of their round trips, and judges each outcome by the serial ones.

        Each function is a session (A, B, ... or the mapping's keys), synchronous or not. It is given what its
        parameters ask for, by annotation or name: a psycopg connection (any other name), a Redis client (`redis`), a
        pool (`pool`), a SQLAlchemy engine or ORM session (`engine`, `session`). What it returns or raises is part of
        the outcome, beside the rows that are left and the content of the lab's Redis, if that is used. One that ends
        with 40001 or 40P01 was aborted. The transaction of a connection is committed when the function returns and
        rolled back when it raises. `setup` is SQL or a function that takes likewise, or a list of these; every schedule
        begins with what it makes in an empty schema (and an empty Redis). A function is run before every schedule; SQL,
        and a function that is handed in as `once(function)`, are put back by their rows. Tables are analysed. Columns
        that a sequence, a clock or chance fills in by default, and those in `ignore` (such as `orders.created_at`), are
        left out of the outcome. Sleeps return at once. What is returned and raised is compared by its structure; an
        object of a class that is not known is refused, unless `compare` says how to make plain data of it (`{Ticket:
        vars}`). Whoever ends in one of `refusals` (an exception's class, an SQLSTATE, or a function that is true of
        what is returned) was refused, as by 40001; with `retry`, whoever was refused tries again when the schedule
        is over, and the end is judged.
        `counterexample` can be replayed, and shows itself; `shrink=False` does without it.
        `explanation` is its name, if it has one, and the level that refuses it, if any does.

        All orders are run one by one while they are few (200); where there are more, one of those that differ only in
        the order of independent round trips, unless `reduction` is False. `samples`, `seed`, `budget` and
        `on_progress` are as for a case, and so is `step_seconds`, up to six.

        `not_compared` of what is given names what functions were seen to use that no outcome holds: files, messages.

        Raises NothingTested where every function raises an error in every order, unless it `may_raise`; Nondeterminism
        where a function does not depend on its schedule alone, StepTimeout where it makes no round trip for long (while
        the server is at one, the schedule is undecided, unless it is a serial one),
        ScheduleError for an endless retry or a second connection.
        """
        self.engine.ensure_open()
        options = ExploreOptions(
            isolation=isolation, setup=setup, invariant=invariant, ignore=ignore, compare=compare, refusals=refusals,
            retry=retry, samples=samples, seed=seed, budget=budget, reduction=reduction, step_seconds=step_seconds,
            shrink=shrink, may_raise=may_raise,
        ).check()  # fmt: skip
        explorer = self.function_explorer(functions, **options.part(RUN_OPTIONS))
        deadline = None if budget is None else time.time() + budget
        with self.engine.runner.steps_within(step_seconds), explorer.intercepted():
            if samples is not None:
                found = explorer.explore(Sampled(range(samples), seed), on_progress, budget)
            else:
                found = explorer.search(reduction, on_progress, budget)
            if not (may_raise or found.anomalous or found.interrupted):
                explorer.check_tested(found)
            if found.anomalous and shrink:
                found.counterexample = explorer.counterexample(found, deadline)
                if not found.interrupted and (deadline is None or time.time() < deadline):
                    found.explanation = explorer.explain(found.counterexample)
        return found

    def replay(
        self,
        functions: Sequence[Function] | Mapping[str, Function],
        schedule: str,
        *,
        setup: Setup = "",
        isolation: Any = IsolationLevel.READ_COMMITTED,
        invariant: Invariant | None = None,
        ignore: Sequence[str] = (),
        compare: Compare | None = None,
        refusals: Sequence[Refusal] = (),
        retry: bool = False,
    ) -> Verdict:
        """Runs one schedule of functions, such as `A B B A`, and judges its outcome; else as `explore`.

        Functions may have changed since it was printed: a turn of a session that waits or has ended is passed over,
        and when the schedule is over the sessions run on. `transcript.schedule` says what was run. Raises BadInput.
        """
        self.engine.ensure_open()
        explorer = self.function_explorer(
            functions, setup=setup, isolation=isolation, invariant=invariant, ignore=ignore, compare=compare,
            refusals=refusals, retry=retry,
        )  # fmt: skip
        return explorer.follow(schedule)

    def function_explorer(
        self,
        functions: Sequence[Function] | Mapping[str, Function],
        *,
        setup: Setup = "",
        isolation: Any = IsolationLevel.READ_COMMITTED,
        invariant: Invariant | None = None,
        ignore: Sequence[str] = (),
        compare: Compare | None = None,
        refusals: Sequence[Refusal] = (),
        retry: bool = False,
    ) -> FunctionExplorer:
        """What `explore` explores with: it can replay single schedules, and judge them. Raises BadInput."""
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
        answers = Answers(compare or {}, refusals)
        elsewhere = self._elsewhere(named, answers)  # which may start Redis
        return FunctionExplorer(
            self.engine.runner, named, setup, IsolationLevel.of(isolation), invariant,
            keyvalue=lambda: self.engine.keyvalue, uses_redis=self.engine.has_keyvalue, ignore=ignore,
            answers=answers, retry=retry, elsewhere=elsewhere,
        )  # fmt: skip

    @property
    def wire(self) -> Wire:
        """The lab's sockets, for programs of any kind: `wire.dsn`, `wire.redis_url`. Raises ServerLost."""
        self.engine.ensure_open()
        return self.engine.wire

    def service(self, command: str | Sequence[str | os.PathLike[str]], **options: Any) -> Service:
        """Starts a program that serves HTTP on the lab's servers, to explore requests to it; options as `Service` has.

            with lab.service("./shop") as shop:
                lab.explore([shop.post("/orders", json=order) for order in orders], setup=SCHEMA)

        Raises BadInput, ServerUnavailable.
        """
        from zephyr_lab.wire.service import Service

        service = Service(self.wire, command, **options)
        self.engine.close_with(service.close)
        return service

    def _elsewhere(self, functions: Mapping[str, Function], answers: Answers) -> Elsewhere | None:
        """What makes the sessions that go by the wire, if any do."""
        from zephyr_lab.wire.works import Works, is_wired

        wired = {name: one for name, one in functions.items() if is_wired(one)}
        return Works(self.engine.wire, wired, answers) if wired else None

    def run_beside(self, title: str, call: Callable[[], Any]) -> Any:
        """Runs something of yours as a setup is run: connections that it opens lead to the lab's schema.

        `title` names it in messages. Raises what it raises, and ScheduleError for a driver that is out of reach.
        """
        from zephyr_lab.functions.beside import run_beside

        self.engine.ensure_open()
        return run_beside(title, call, self.engine.database)

    def terminals(self, setup: str = "", isolation: Any = IsolationLevel.READ_COMMITTED) -> Terminals:
        """Sessions that are sent one statement after another by hand, in a schema that `setup` makes.

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
        """Records random transactions of several sessions at once, as a history; then `.check()` it.

        `workload` is list-append or rw-register; `seconds` or a number of `transactions` (200) ends it. Sessions race
        as they like: another run is another history. Raises BadInput.
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

        `extensions`, such as `pgrowlocks`, are made first, on a server of the lab's own. A block of setup or teardown
        may take `step_seconds`, as a step; there isolationtester waits for ever. Raises BadInput, SetupFailed,
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
        """Replays the tests that a Markdown file documents, each with what differed. Raises BadInput."""
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
    ) -> Matrix:
        """Runs all orders of every anomaly of the catalogue, or of those named, at every level.

        `on_progress` is called after each cell. Raises BadInput for an unknown anomaly.
        """
        wanted = CATALOGUE if anomalies is None else [anomaly(name) for name in anomalies]
        cells = {}
        for one in wanted:
            for level in IsolationLevel:
                cells[one.name, level] = Cell(*self.case(one.case, level).measure())
                if on_progress:
                    on_progress(one, level)
        return Matrix(self.server, cells)

    def incident(
        self,
        incident: Incident,
        on_progress: Callable[[Progress], object] = lambda progress: None,
        *,
        yes_load_this_database: bool = False,
    ) -> Report:
        """Puts the order service under load, in the lab's schema and Valkey, which are emptied first.

        `on_progress` is told how far it is, some times a second. An interrupt ends it with the report so far. A server
        of yours is loaded only if you say so. Raises BadInput.
        """
        with needed_by("Lab.incident", "load"):
            from zephyr_lab.load import Place, run

        self.engine.ensure_open()
        self.engine.runner.workspace.forget()
        place = Place(self.engine.database, lambda: self.engine.keyvalue, self.engine.idle, yes_load_this_database)
        report = run(incident, place, on_progress)
        if report.killed_at is not None:
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
        """Decides the write-up's claims by running: those with these numbers, or all. On a server of the lab's own.

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

        `session` is then the name that a session has in its case. Raises BadInput, QuestionFailed.
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
