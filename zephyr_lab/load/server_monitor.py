"""Monitors the server during a run: sessions waiting for locks, oversold slots, and processor time by process.

The lock wait of a transaction is by Little's law: sessions that wait, on average over samples, by transactions a
second. No client can tell a wait for a lock from a slow statement; the server's log loses most of the short ones.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psutil
import psycopg

from zephyr_lab.load.counts import PERIOD

SAMPLE_SECONDS = 0.02
LOCKS_SECONDS = 0.1

_WAITING = """
select count(*) filter (where wait_event_type = 'Lock') from pg_stat_activity where application_name = %s"""

_LONGEST = """
select coalesce(extract(epoch from max(clock_timestamp() - waitstart)), 0)::float8
from pg_locks join pg_stat_activity using (pid) where not granted and application_name = %s"""

_LONGEST_BEFORE_14 = """
select coalesce(extract(epoch from max(clock_timestamp() - query_start)), 0)::float8
from pg_stat_activity where wait_event_type = 'Lock' and application_name = %s"""

_OVERSOLD = """
select count(*), coalesce(sum(over), 0)::bigint from (
    select sum(final_price) - min(capacity) as over from orders join slots on slots.id = target_slot_id
    where status <> 'cancelled' and target_slot_id > ''
    group by target_slot_id having sum(final_price) > min(capacity)) as found"""


@dataclass
class Seen:
    """`oversold` is slots over capacity by period of the run; `waiting` the number of waiting sessions in each sample.

    `longest_wait`, in seconds, is None if it could not be queried. `failures` counts the errors of queries by their
    text; `blind` is for how many seconds of the run there are no samples.
    """

    waiting: list[int] = field(default_factory=list)
    longest_wait: float | None = None
    failures: Counter[str] = field(default_factory=Counter)
    blind: float = 0.0
    oversold: dict[int, int] = field(default_factory=dict)
    oversold_slots: int = 0
    roubles_over: int = 0

    @property
    def mean_waiting(self) -> float | None:
        """The mean of waiting sessions; None without samples."""
        return sum(self.waiting) / len(self.waiting) if self.waiting else None

    @property
    def why_not(self) -> str:
        """The errors of its queries, the most frequent first."""
        return "; ".join(why for why, _ in self.failures.most_common()) or "the run was over before the first look"


class ServerMonitor:
    """A thread with a connection of its own that samples during a run, and reconnects after a crash.

    Its errors do not end the run, and are reported in `Seen.failures`.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], sessions: str, began: float) -> None:
        self.seen = Seen()
        self._connect, self._sessions, self._began = connect, sessions, began
        self._blind_since: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with self._connect() as connection:
                    self._look(connection)
            except Exception as error:
                self.seen.failures[f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"] += 1
                if self._blind_since is None:
                    self._blind_since = max(time.monotonic(), self._began)
            self._over.wait(0.1)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        longest = _LONGEST if connection.info.server_version >= 140000 else _LONGEST_BEFORE_14
        next_locks = next_orders = 0.0
        while not self._over.wait(SAMPLE_SECONDS):
            now = time.monotonic()
            if now < self._began:
                continue
            self.seen.waiting.append(_one(connection, _WAITING, self._sessions)[0])
            self._sees_again(now)
            if now >= next_locks:
                next_locks = now + LOCKS_SECONDS
                wait = _one(connection, longest, self._sessions)[0]
                self.seen.longest_wait = max(self.seen.longest_wait or 0.0, wait)
            if now >= next_orders:
                slots, roubles = _one(connection, _OVERSOLD)
                self.seen.oversold_slots, self.seen.roubles_over = slots, roubles
                self.seen.oversold[int((now - self._began) / PERIOD)] = slots
                # The query takes longer with more orders, and must not load the server itself.
                next_orders = now + max(0.5, 30 * (time.monotonic() - now))

    def _sees_again(self, now: float) -> None:
        if self._blind_since is not None:
            self.seen.blind += max(0.0, now - self._blind_since)
            self._blind_since = None

    def close(self) -> Seen:
        self._over.set()
        self._thread.join(10)
        if self._thread.is_alive():
            self.seen.failures["the server did not answer the last question within 10 s"] += 1
        self._sees_again(time.monotonic())
        return self.seen


def _one(connection: psycopg.Connection[Any], sql: LiteralString, *params: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(sql, params).fetchone()
    assert row is not None
    return row


MOST_SHARE = 0.7
"""Of the machine, for the clients or for processes that have no part in the run, up to which latencies are told."""


@dataclass(frozen=True)
class Cpu:
    """Seconds of processor time, by whom; `others` are all processes that have no part in the run. None: not ours."""

    client: float
    postgresql: float | None
    valkey: float | None
    others: float
    cores: int
    wall: float

    @property
    def others_share(self) -> float:
        """The share of the machine that other processes used."""
        return self._share(self.others)

    @property
    def client_share(self) -> float:
        """The share that the clients used; the service through gRPC is one of them."""
        return self._share(self.client)

    @property
    def idle_share(self) -> float:
        """The share that nobody used."""
        used = self.client + (self.postgresql or 0.0) + (self.valkey or 0.0) + self.others
        return max(0.0, 1 - self._share(used)) if self.wall else 0.0

    @property
    def is_too_busy(self) -> bool:
        """Whether a latency is that of the machine's queue of processes, and says nothing of the service."""
        return max(self.client_share, self.others_share) > MOST_SHARE

    def _share(self, seconds: float) -> float:
        """At most 1: the system counts in ticks of 10 ms."""
        return min(1.0, max(0.0, seconds) / (self.cores * self.wall)) if self.wall else 0.0


class CpuMeter:
    """Measures the processor time of each group of processes, from its creation until `stop`."""

    def __init__(self, clients: list[int], postmaster: int | None, valkey: int | None) -> None:
        self._pids = {"client": clients, "postgresql": [postmaster] if postmaster else []}
        self._pids["valkey"] = [valkey] if valkey else []
        self._began, self._wall = self._read(), time.monotonic()

    def _read(self) -> dict[str, float]:
        used: dict[str, float] = {}
        for name, pids in self._pids.items():
            used[name] = sum(_seconds(pid) for pid in pids)
        own = psutil.Process().cpu_times()
        used["client"] += own.user + own.system
        whole = psutil.cpu_times()
        idle = whole.idle + getattr(whole, "iowait", 0.0) + getattr(whole, "guest", 0.0)
        used["busy"] = sum(whole[:]) - idle
        return used

    def stop(self) -> Cpu:
        now = self._read()
        used = {name: max(0.0, now[name] - self._began[name]) for name in now}
        wall = time.monotonic() - self._wall
        ours = used["client"] + used["postgresql"] + used["valkey"]
        known = {name: used[name] if self._pids[name] else None for name in ("postgresql", "valkey")}
        return Cpu(
            used["client"],
            known["postgresql"],
            known["valkey"],
            max(0.0, used["busy"] - ours),
            psutil.cpu_count() or 1,
            wall,
        )


def _seconds(pid: int) -> float:
    """The seconds of a process and its children, with those that have ended."""
    try:
        process = psutil.Process(pid)
        while True:
            before, children = process.cpu_times(), process.children(recursive=True)
            total = sum(before[:4])
            for child in children:
                with contextlib.suppress(psutil.Error):
                    total += sum(child.cpu_times()[:2])
            ended = process.cpu_times()[2:4]
            if ended == before[2:4]:
                return float(total)
            # A child that ends meanwhile would be counted twice, or not at all: 25 sessions end with a run.
    except psutil.Error:
        return 0.0
