"""One run: prepares servers, starts, monitors and, on request, kills processes, and reports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from zephyr_lab.errors import BadInput, ServerUnavailable
from zephyr_lab.load import distant, history, truth
from zephyr_lab.load.client import DRAIN_SECONDS, Share
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import Outcome, add_up
from zephyr_lab.load.distant import Cluster, Distant
from zephyr_lab.load.injection import Injector, postmaster, valkey
from zephyr_lab.load.processes import START_SECONDS, Idle, Process, Processes, processes
from zephyr_lab.load.report import Report
from zephyr_lab.load.server_monitor import CpuMeter, ServerMonitor
from zephyr_lab.load.service import Where
from zephyr_lab.load.strategies import lock_timed
from zephyr_lab.orders import schema
from zephyr_lab.orders.days import open_day
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import Load
from zephyr_lab.servers.database import Database
from zephyr_lab.servers.keyvalue import KeyValue

LEAD_SECONDS = 0.3
COME_BACK_SECONDS = 30.0
OWN_CONNECTIONS = 4  # the lab's, the monitor, and who prepares and looks afterwards

DURABLE = {"synchronous_commit": "on"}
"""Acknowledged orders survive a crash. The lab's other sessions commit asynchronously, and are faster."""

# Of earlier slots, which are no part of the run: an order without a slot is none of those that are counted.
_EARLIER = """
with earlier as (select gen_random_uuid() as id, %(day)s::timestamp at time zone 'UTC' as at
                 from generate_series(1, %(number)s)),
     known as (insert into order_ids (id, created_at) select id, at from earlier)
insert into orders (id, display_id, customer_id, items, total_price, final_price, status, created_at, updated_at)
select id, '0000', 1, '[]', 450, 450, 'archived', at, at from earlier"""

_FREE_CONNECTIONS = """
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - (select count(*)::int from pg_stat_activity where backend_type = 'client backend')"""

NO_INDEX = {"enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off"}


@dataclass(frozen=True)
class Place:
    """Where runs happen: the lab's schema, and the lab's Valkey, started when first asked for; `idle` processes.

    `theirs` allows it on an external server. With an `executor` of Dask's clients are on its workers, one on each.
    `history` is a file for the run's orders, in the form of `zephyr-lab check`.
    """

    database: Database
    keyvalue: Callable[[], KeyValue]
    idle: Idle
    theirs: bool = False
    executor: Executor | None = None
    history: Path | None = None


@dataclass(frozen=True)
class Progress:
    """The progress of a run. `created` and `errors` are replies to customers; oversold slots are by the orders."""

    incident: Incident
    elapsed: float
    sent: int
    created: int
    errors: int
    hits: int
    oversold: int
    roubles_over: int

    @property
    def rate(self) -> float:
        return self.created / self.elapsed if self.elapsed > 0 else 0.0


def run(incident: Incident, place: Place, on_progress: Callable[[Progress], object] = lambda progress: None) -> Report:
    """Runs an incident in the lab's schema, emptied first; an interrupt ends it. Raises BadInput, ServerUnavailable."""
    cluster = Cluster(place.executor) if place.executor else None
    if cluster:
        incident = replace(incident, processes=min(len(cluster.workers), incident.pool))
    return _Run(incident.check(), place, on_progress, cluster).carry_out()


class _Run:
    def __init__(
        self, incident: Incident, place: Place, on_progress: Callable[[Progress], object], cluster: Cluster | None
    ) -> None:
        self.incident, self.place, self.on_progress, self.cluster = incident, place, on_progress, cluster
        self.database = place.database
        self.uses_redis = incident.as_strategy().load is Load.REDIS
        self.today = datetime.now(UTC).date()
        self.stopped = False
        self.faults, self.line = incident.faults, incident.line
        if not self.database.is_embedded and not place.theirs:
            where = self.database.facts.where
            raise BadInput(
                f"{where} is a server of yours, and this writes {incident.expected:,} orders into a "
                "schema of its own there: say --yes-load-this-database, or unset ZEPHYR_LAB_PG_DSN to use the lab's own"
            )
        if (incident.kill or incident.stall or self.line) and not self.database.is_embedded:
            raise BadInput("only a server of the lab's own is killed, stalled or cut off: unset ZEPHYR_LAB_PG_DSN")
        self.keyvalue = place.keyvalue() if self.uses_redis else None
        if self.keyvalue and not self.keyvalue.is_embedded:
            raise BadInput(
                f"{incident.strategy} books in Redis under keys without the lab's prefix, and yours may have such: "
                "unset ZEPHYR_LAB_REDIS_URL to use the lab's own Valkey"
            )
        if cluster and (self.database.is_embedded or self.keyvalue or incident.through == "grpc"):
            cluster.check_reach("the service" if incident.through == "grpc" else "the lab's own server")
        self.where = Where(
            self.database.conninfo("load", **DURABLE, **({} if incident.index else NO_INDEX)),
            self.keyvalue.url if self.keyvalue else None,
        )

    def carry_out(self) -> Report:
        with ExitStack() as stack:
            self._refuse_too_many_connections()
            self._prepare()
            if self.incident.missing_partition:
                stack.enter_context(self._partition_away())
            workers = stack.enter_context(processes(self.place.idle))
            if self.cluster:
                stack.callback(self.cluster.close)
            return self._measure(workers)

    # -- before

    def _refuse_too_many_connections(self) -> None:
        with self.database.connect() as admin:
            row = admin.execute(_FREE_CONNECTIONS).fetchone()
        free = (row or (0,))[0]
        wanted = self.incident.pool + OWN_CONNECTIONS - 1
        if wanted > free:
            raise BadInput(
                f"a pool of {self.incident.pool} needs {wanted} connections, and the server has {free} free: take a "
                f"pool of at most {max(0, free - OWN_CONNECTIONS + 1)}, or raise its max_connections"
            )

    def _prepare(self) -> None:
        """Creates the service's tables, and the slots of the days that the run needs."""
        days = self.incident.opened(self.today)
        with self.database.connect() as admin:
            name = sql.Identifier(self.database.schema)
            admin.execute(sql.SQL("drop schema if exists {} cascade").format(name))
            admin.execute(sql.SQL("create schema {}").format(name))
            schema.install(admin, capacity=self.incident.capacity)
            lock_timed.install(admin)
            admin.execute("update slot_plans set opens = '00:00', closes = '24:00', minutes = 1")
            for day in days:
                admin.execute("select plan_slots(%s)", [day])
            admin.execute(_EARLIER, {"number": self.incident.stored, "day": self.today})
            admin.execute("analyze slots, orders, order_ids")
            if self.database.facts.is_superuser:
                admin.execute("checkpoint")
        if self.keyvalue:
            self.keyvalue.client.flushall()
            self._publish(days)

    def _publish(self, days: list[date]) -> None:
        assert self.keyvalue
        with psycopg.connect(self.where.dsn) as connection:
            for day in days:
                run_sync(open_day(Session(connection), RedisSlots(self.keyvalue.client), day))

    @contextmanager
    def _partition_away(self) -> Iterator[None]:
        with self.database.connect() as admin, schema.missing_partition(admin, f"orders_{self.today:%Y_%m}"):
            yield

    # -- while it lasts

    def _measure(self, workers: Processes) -> Report:
        incident, servers = self.incident, []
        lines = self._start_line(workers)
        if incident.through == "grpc":
            servers = [self._start_service(workers)]
            workers.wait_for("address", servers)
            self.where = replace(self.where, address=servers[0].said["address"])
        clients = self._start_clients(workers)
        deadlocks = self._deadlocks()
        began = time.monotonic() + (distant.LEAD_SECONDS if self.cluster else LEAD_SECONDS)
        meter = CpuMeter([one.pid for one in workers.all], self._postmaster(), self._valkey())
        injector = self._injector(workers, servers, began)
        monitor = ServerMonitor(self.database.connect, f"{self.database.schema} load", began)
        try:
            for one in clients:
                one.tell(f"go {began!r}")
            injector.start(self.faults)
            self._follow(self.cluster or workers, clients, monitor, began)
            cpu = meter.stop()
        finally:
            happened = injector.close()
            looked = monitor.close()
        _stop(workers, servers, lines)
        parts = [one.counts for one in [*clients, *servers]]
        missing = sum(part is None for part in parts)
        counts = add_up(part for part in parts if part is not None)
        with self._connected_again() as admin:
            facts = truth.look(admin, self.keyvalue.client if self.keyvalue else None, incident, counts.outcomes)
            if self.place.history:
                counted = history.workload(incident) == "counter"
                last = facts.counted if counted else [str(id) for id in truth.orders(admin)]
                history.write(self.place.history, incident, counts, self.today, last)
        return Report(
            incident=incident,
            server=self.database.facts.version_name,
            counts=counts,
            truth=facts,
            watched=looked,
            cpu=cpu,
            deadlocks=max(0, self._deadlocks() - deadlocks),
            stopped=self.stopped,
            faults=tuple(happened),
            problems=tuple(injector.problems),
            processes_lost=missing,
            clocks=tuple(one.clock for one in self.cluster.clients) if self.cluster else (),
        )

    def _injector(self, workers: Processes, servers: list[Process], began: float) -> Injector:
        def start_service() -> None:
            servers.append(self._started_again(workers))

        return Injector(self.database, self.keyvalue, lambda: servers[-1].pid, start_service, began)

    def _start_line(self, workers: Processes) -> list[Process]:
        """The way to PostgreSQL leads through a process of the run's, if it is to be bad."""
        if self.line is None:
            return []
        line = workers.start("line", Share(self.incident, 0, 0, self.where, self.today))
        workers.wait_for("port", [line])
        self.where = replace(self.where, dsn=make_conninfo(self.where.dsn, host="127.0.0.1", port=line.said["port"]))
        return [line]

    def _start_service(self, workers: Processes) -> Process:
        return workers.start("server", Share(self.incident, 0, self.incident.pool, self.where, self.today))

    def _started_again(self, workers: Processes) -> Process:
        """Another service at the address of the one that was killed; `listen` in the main thread hears it."""
        made = self._start_service(workers)
        deadline = time.monotonic() + START_SECONDS
        while "address" not in made.said and made.is_alive and time.monotonic() < deadline:
            time.sleep(0.02)
        return made

    def _start_clients(self, workers: Processes) -> list[Process] | list[Distant]:
        """In processes, which are ready then, or on the workers of a cluster."""
        shares = [
            Share(self.incident, number, pool, self.where, self.today)
            for number, pool in enumerate(_shared(self.incident.pool, self.incident.processes))
        ]
        if self.cluster:
            return self.cluster.start(shares)
        clients = [workers.start("clients", share) for share in shares]
        workers.wait_for("ready", clients)
        return clients

    def _follow(self, workers: Any, clients: Any, monitor: ServerMonitor, began: float) -> None:
        """Waits until all clients have sent their counts. An interrupt asks for them; a second one is raised."""
        deadline = began + self.incident.seconds + DRAIN_SECONDS + 15
        while not workers.ended(clients) and time.monotonic() < deadline:
            try:
                workers.listen(0.1)
                elapsed = time.monotonic() - began
                said = [one.said for one in clients]
                sent, created, errors, hits = (
                    sum(one.get(name, 0) for one in said) for name in ("sent", "created", "errors", "hits")
                )
                looked = monitor.seen
                self.on_progress(
                    Progress(
                        self.incident,
                        max(0.0, elapsed),
                        sent,
                        created,
                        errors,
                        hits,
                        looked.oversold_slots,
                        looked.roubles_over,
                    )
                )
            except KeyboardInterrupt:
                if self.stopped:
                    raise
                self.stopped = True
                deadline = time.monotonic() + 15
                for one in clients:
                    one.tell("stop")

    # -- questions

    @contextmanager
    def _connected_again(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection, after the server has recovered if it has to."""
        deadline = time.monotonic() + COME_BACK_SECONDS
        while True:
            try:
                connection = self.database.connect()
                break
            except ServerUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        with connection:
            yield connection

    def _deadlocks(self) -> int:
        with self._connected_again() as admin:
            row = admin.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchone()
        return int((row or (0,))[0])

    def _postmaster(self) -> int | None:
        """None where it is not ours, or another one comes after it."""
        if not self.database.is_embedded or any(one.target == "postmaster" for one in self.faults):
            return None
        with contextlib.suppress(psutil.Error):
            return postmaster(self.database)
        return None

    def _valkey(self) -> int | None:
        return valkey(self.keyvalue) if self.keyvalue else None


def _stop(workers: Processes, servers: list[Process], lines: list[Process]) -> None:
    """Ends what has served; waits for the counts."""
    for one in [*servers, *lines]:
        one.tell("stop")
    deadline = time.monotonic() + 20
    while not workers.ended(servers) and time.monotonic() < deadline:
        workers.listen(0.2)


def _shared(whole: int, parts: int) -> list[int]:
    return [len(range(number, whole, parts)) for number in range(parts)]


__all__ = ["Outcome", "Place", "Progress", "run"]
