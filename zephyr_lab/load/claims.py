"""Every claim of the write-up about how the service behaves, the experiment that decides it, and what came out.

Verdicts are computed from what was measured, here and now; none is written down. A figure from a machine that was busy
with other things is as good as that machine was: the share that others took is printed with the table.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, time
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg
from psycopg import IsolationLevel

from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.report import Report
from zephyr_lab.orders import documented
from zephyr_lab.orders.models import Item, Order, Slot
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.session import run as to_its_end

RATE, SECONDS = 800.0, 4.0
SLOTS = (1, 4, 16, 64)
POOLS = (1, 2, 4, 8, 25)
STRESS = 100  # orders of the write-up's own test, which has 1000


class Verdict(StrEnum):
    HOLDS = "holds"
    HOLDS_WHEN = "holds when"
    DOES_NOT_HOLD = "does not hold"


@dataclass(frozen=True)
class Finding:
    """What an experiment has shown: a verdict, on what condition if there is one, and the figures."""

    verdict: Verdict
    measured: str
    when: str = ""

    @property
    def said(self) -> str:
        return f"{self.verdict} {self.when}".strip()


@dataclass
class Bench:
    """Runs what the experiments ask for, each condition once. `connect` opens a connection into the lab's schema."""

    run: Callable[[Incident], Report]
    connect: Callable[[], psycopg.Connection[Any]]
    rate: float = RATE
    seconds: float = SECONDS
    seed: int = 0
    reports: dict[Incident, Report] = field(default_factory=dict)

    def load(self, strategy: str, **conditions: Any) -> Report:
        """A run at the bench's rate, open loop."""
        wanted = Incident(
            strategy=strategy, **{"rate": self.rate, "seconds": self.seconds, "seed": self.seed, **conditions}
        )  # fmt: skip
        if wanted not in self.reports:
            self.reports[wanted] = self.run(wanted)
        return self.reports[wanted]

    @property
    def others_share(self) -> float:
        """How much of the machine was not there, in the worst of the runs."""
        return max((one.cpu.others_share for one in self.reports.values()), default=0.0)


Decide = Callable[[Bench], Finding]


@dataclass(frozen=True)
class Claim:
    """What the write-up says, and how to find out."""

    number: int
    said: str
    decide: Decide


CLAIMS: list[Claim] = []


def claim(said: str) -> Callable[[Decide], Decide]:
    """Registers an experiment under the next number."""

    def add(decide: Decide) -> Decide:
        CLAIMS.append(Claim(len(CLAIMS) + 1, said, decide))
        return decide

    return add


def _either(good: bool) -> Verdict:
    return Verdict.HOLDS if good else Verdict.DOES_NOT_HOLD


def _over(report: Report) -> str:
    return f"{report.truth.oversold} of {report.truth.slots} slots oversold, by {report.truth.roubles_over:,} roubles"


# -- the incident


@claim("5 race conditions were detected at 800 RPS with slots of 100,000 roubles")
def race_conditions(bench: Bench) -> Finding:
    """The detector that found them, at a service that oversells and at one that does not."""
    broken, right = (bench.load(name, detector=True) for name in ("redis-get-then-incrby", "one-statement"))
    measured = (
        f"its detector says {broken.counts.hits} where {_over(broken)}, and {right.counts.hits} where "
        f"{right.truth.oversold} are: it counts who else has booked between two polls"
    )
    if right.counts.hits and not right.truth.oversold:
        return Finding(Verdict.DOES_NOT_HOLD, measured)
    return Finding(_either(bool(broken.truth.oversold)), measured)


@claim("READ COMMITTED is insufficient for concurrent writes")
def read_committed(bench: Bench) -> Finding:
    """The same level, reading first and writing later, or deciding where the row is changed."""
    broken = [bench.load(name) for name in ("check-then-insert", "read-then-write")]
    right = [bench.load(name) for name in ("one-statement", "select-for-update", "server-side-function")]
    sold = "; ".join(f"{one.incident.strategy}: {_over(one)}" for one in [*broken, *right])
    if any(one.truth.oversold for one in broken) and not any(one.truth.oversold for one in right):
        return Finding(Verdict.HOLDS_WHEN, sold, "the service reads first and writes later")
    return Finding(_either(any(one.truth.oversold for one in right)), sold)


@claim("lost updates happen at READ COMMITTED")
def lost_updates(bench: Bench) -> Finding:
    one = bench.load("read-then-write")
    lost = one.truth.lost_updates
    return Finding(_either(lost > 0), f"the counter lacks {lost:,} roubles of {one.created:,} orders; {_over(one)}")


@claim("the Lua script is atomic, but orders that check at once all see room and all increment")
def lua(bench: Bench) -> Finding:
    script, two = bench.load("redis-lua"), bench.load("redis-get-then-incrby")
    measured = f"one script: {_over(script)}; GET, then INCRBY: {_over(two)}"
    return Finding(_either(script.truth.oversold > 0), measured)


# -- the fix


@claim("saving orders at SERIALIZABLE ends the race conditions (slots in Redis)")
def serializable_insert(bench: Bench) -> Finding:
    one = bench.load("redis-get-then-incrby", isolation="serializable")
    measured = f"GET, then INCRBY, and the insert at SERIALIZABLE: {_over(one)}; {one.refusals} refusals: orders with "
    return Finding(_either(one.truth.oversold == 0), measured + "different ids do not meet")


@claim("Lua script and SERIALIZABLE together: race conditions from 5 to 0")
def documented_fix(bench: Bench) -> Finding:
    both, alone = bench.load("redis-lua-serializable"), bench.load("redis-lua")
    measured = f"both: {_over(both)}, p99 {both.latency(99):.1f} ms; Lua and READ COMMITTED: {_over(alone)}, "
    measured += f"p99 {alone.latency(99):.1f} ms"
    if both.truth.oversold:
        return Finding(Verdict.DOES_NOT_HOLD, measured)
    if alone.truth.oversold:
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "the script is there; SERIALIZABLE has no part in it")


@claim("SERIALIZABLE prevents all anomalies (slots in PostgreSQL)")
def serializable_prevents(bench: Bench) -> Finding:
    reports = [bench.load("serializable-retry", slots=slots) for slots in SLOTS]
    over = sum(one.truth.oversold + one.truth.lost_updates + len(one.truth.lost) for one in reports)
    return Finding(_either(over == 0), "; ".join(f"{one.incident.slots} hot: {_over(one)}" for one in reports))


@claim("SELECT FOR UPDATE for the capacity check, inside SERIALIZABLE")
def for_update_inside(bench: Bench) -> Finding:
    inside, plain = bench.load("select-for-update", isolation="serializable"), bench.load("select-for-update")
    measured = f"inside SERIALIZABLE {inside.failed_attempts:.0%} of attempts are refused, at READ COMMITTED "
    measured += f"{plain.failed_attempts:.0%}: the snapshot is older than the lock"
    if inside.failed_attempts <= 0.05:
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "the level is READ COMMITTED")


def _by_slots(bench: Bench, figure: Callable[[Report], float], limit: float, shown: Callable[[float], str]) -> Finding:
    found = {slots: figure(bench.load("serializable-retry", slots=slots)) for slots in SLOTS}
    measured = ", ".join(f"{slots} hot: {shown(value)}" for slots, value in found.items())
    good = [slots for slots, value in found.items() if value < limit]
    if len(good) == len(SLOTS):
        return Finding(Verdict.HOLDS, measured)
    if not good:
        return Finding(Verdict.DOES_NOT_HOLD, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, f"{' or '.join(map(str, good))} slots are hot, not one")


@claim("serialization failures stay under 5 %")
def failures(bench: Bench) -> Finding:
    return _by_slots(bench, lambda one: one.failed_attempts, 0.05, lambda share: f"{share:.0%} of attempts")


@claim("retries stay under 2 an order")
def retries(bench: Bench) -> Finding:
    return _by_slots(bench, lambda one: one.retries_an_order, 2, lambda number: f"{number:.2f}")


@claim("throughput falls by 5 to 10 %")
def throughput(bench: Bench) -> Finding:
    without = bench.load("one-statement")
    finding = _by_slots(
        bench, lambda one: 1 - one.created / without.created, 0.10, lambda share: f"{max(0.0, share):.0%} fewer orders"
    )
    return replace(finding, measured=finding.measured + " than one statement at READ COMMITTED saves")


@claim("transactions take under 50 ms")
def transactions(bench: Bench) -> Finding:
    one = bench.load("serializable-retry")
    mean = one.counts.transaction.get_mean_value() / 1000
    measured = f"{mean:.1f} ms on average, while an order's p99 is {one.latency(99):,.0f} ms: the time is in pauses "
    return Finding(_either(mean < 50), measured + "between attempts and in the queue for a connection")


@claim("lock waits are under 10 ms")
def lock_waits(bench: Bench) -> Finding:
    found = [bench.load(name) for name in ("one-statement", "select-for-update", "advisory-lock", "serializable-retry")]
    measured = "; ".join(
        f"{one.incident.strategy} {one.lock_wait:.1f} ms on average, longest "
        f"{1000 * one.watched.longest_wait:,.0f} ms" for one in found
    )  # fmt: skip
    good = [one.incident.strategy for one in found if one.lock_wait < 10]
    if not good:
        return Finding(Verdict.DOES_NOT_HOLD, measured)
    if len(good) == len(found) and all(one.watched.longest_wait < 0.010 for one in found):
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, f"averages are meant, of {', '.join(good)}")


@claim("at most 5 retries, with backoff and jitter")
def at_most_five(bench: Bench) -> Finding:
    one = bench.load("serializable-retry")
    most = max(one.counts.retries, default=0)
    measured = (
        f"at most {most} retries in {most + 1} attempts; {one.given_up:.0%} of the orders are given up after them"
    )
    return Finding(_either(most == 5), measured)


@claim("a pool of 25 connections; more for high load")
def pool(bench: Bench) -> Finding:
    found = {size: bench.load("serializable-retry", pool=size) for size in POOLS}
    measured = ", ".join(
        f"{size}: {one.failed_attempts:.0%} refused, p99 {one.latency(99):,.0f} ms" for size, one in found.items()
    )
    fewer = found[1].failed_attempts < found[POOLS[-1]].failed_attempts
    return Finding(_either(not fewer), "connections " + measured)


# -- what needs no load


def _order(number: int) -> Order:
    now = datetime.combine(datetime.now(UTC).date(), time(12), UTC)
    item = Item.checked(pizza_name="Margherita", quantity=1, price=450)
    return Order.of([item], id=UUID(int=number), now=now, customer_id=1).placed(Slot.at(now))


def _save(bench: Bench, number: int) -> BaseException | None:
    with closing(bench.connect()) as connection:
        connection.autocommit = False
        try:
            to_its_end(
                documented.save_order_with_transaction(
                    Session(connection), _order(number), IsolationLevel.SERIALIZABLE
                )
            )  # fmt: skip
        except documented.SaveFailed as error:
            return error
    return None


@claim("SaveOrder's upsert ON CONFLICT (id) saves an order, once")
def upsert(bench: Bench) -> Finding:
    error = _save(bench, 1)
    code = getattr(error.__cause__, "sqlstate", "") if error else ""
    measured = f"{code}: a key of a partitioned table must hold created_at" if error else "one order saved"
    return Finding(_either(error is None), measured)


@claim("the stress test of 1000 concurrent orders proves the fix (at most 50 serialization failures)")
def stress_test(bench: Bench) -> Finding:
    with ThreadPoolExecutor(8) as threads:
        errors = [one for one in threads.map(lambda number: _save(bench, number), range(1, STRESS + 1)) if one]
    counted = sum(map(documented.is_serialization_failure, errors))
    passes = counted <= STRESS * 0.05
    measured = f"of {STRESS} orders {len(errors)} fail, {counted} of them as it counts, and it "
    measured += "passes" if passes else "fails"
    return Finding(_either(not (passes and errors)), measured)


@claim("isSerializationFailure recognises what is to be retried")
def recognised(bench: Bench) -> Finding:
    """The server's own SQLSTATE under texts of other languages, wrapped as the service wraps it."""
    texts = ("could not serialize access due to concurrent update", "не удалось сериализовать доступ")
    seen = []
    with closing(bench.connect()) as connection:
        for text in texts:
            try:
                connection.execute(f"do $$ begin raise exception '{text}' using errcode = '40001'; end $$")
            except psycopg.errors.SerializationFailure as error:
                wrapped = documented.SaveFailed(f"error executing INSERT: {error}")
                wrapped.__cause__ = error
                seen.append(documented.is_serialization_failure(wrapped))
    measured = f"40001 in English: {_yes(seen[0])}, in Russian: {_yes(seen[1])}"
    if all(seen):
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "the server speaks English" if seen[0] else "")


def _yes(it: bool) -> str:
    return "recognised" if it else "not recognised"


@claim("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE sets the level for the current session")
def set_transaction(bench: Bench) -> Finding:
    with closing(bench.connect()) as connection:
        connection.execute("set transaction isolation level serializable")
        row = connection.execute("show transaction_isolation").fetchone()
    assert row is not None
    return Finding(_either(row[0] == "serializable"), f"outside of a transaction; the next one is {row[0]}")


@claim("ALTER DATABASE ... SET default_transaction_isolation requires superuser")
def alter_database(bench: Bench) -> Finding:
    """As an owner without superuser, in a database of their own."""
    with closing(bench.connect()) as connection:
        connection.execute("create role claims_owner")
        try:
            connection.execute("create database claims_owned owner claims_owner")
            try:
                connection.execute("set role claims_owner")
                connection.execute("alter database claims_owned set default_transaction_isolation = 'serializable'")
                said = "an owner without superuser may"
            except psycopg.errors.InsufficientPrivilege:
                said = "42501 for an owner without superuser"
            finally:
                connection.execute("reset role")
                connection.execute("drop database claims_owned")
        finally:
            connection.execute("drop role claims_owner")
    return Finding(_either(said.startswith("42501")), said)


@claim("information_schema.tables tells whether the table orders exists")
def table_exists(bench: Bench) -> Finding:
    """As a role without rights on it, which is the case that the write-up wants to tell apart."""
    with closing(bench.connect()) as connection:
        connection.execute("create role claims_stranger")
        try:
            connection.execute("set role claims_stranger")
            seen = connection.execute(
                "select exists (select from information_schema.tables where table_name = 'orders')"
            ).fetchone()
            connection.execute("reset role")
            there = connection.execute("select to_regclass('orders') is not null").fetchone()
        finally:
            connection.execute("reset role")
            connection.execute("drop role claims_stranger")
    assert seen is not None
    assert there is not None
    measured = f"for a role without rights it says {seen[0]}, and the table is there: {there[0]}"
    if seen[0] == there[0]:
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "the role has a right on it")


# -- all of them


@dataclass(frozen=True)
class Decided:
    """A claim and what was found about it."""

    claim: Claim
    finding: Finding


def _bold(finding: Finding) -> str:
    return f"**{finding.verdict}** {finding.when}".strip()


@dataclass(frozen=True)
class Table:
    """Every claim with its finding, and the conditions under which they were measured."""

    rows: Sequence[Decided]
    server: str
    rate: float
    seconds: float
    others_share: float

    @property
    def conditions(self) -> str:
        return (
            f"measured on {self.server}, {self.rate:g} orders/s for {self.seconds:g} s a run; "
            f"others took up to {self.others_share:.0%} of the machine"
        )

    def __str__(self) -> str:
        lines = []
        for row in self.rows:
            lines.append(f"{row.claim.number:>2}. {row.claim.said}")
            lines.append(textwrap.indent(textwrap.fill(row.finding.said, 110), "    -> "))
            lines.append(textwrap.indent(textwrap.fill(row.finding.measured, 110), "       "))
        return "\n".join([*lines, self.conditions])

    def to_markdown(self) -> str:
        head = "| | claim | verdict | measured |\n|---|---|---|---|"
        rows = [f"| {one.claim.number} | {one.claim.said} | {_bold(one.finding)} | "
                f"{one.finding.measured} |" for one in self.rows]  # fmt: skip
        return "\n".join([head, *rows, "", self.conditions])

    def to_json(self) -> str:
        rows = [
            {"number": one.claim.number, "claim": one.claim.said, **asdict(one.finding)} for one in self.rows
        ]  # fmt: skip
        return json.dumps({"conditions": self.conditions, "claims": rows}, indent=1)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def verdicts(self) -> dict[int, Verdict]:
        return {one.claim.number: one.finding.verdict for one in self.rows}


def decide(
    bench: Bench, server: str, numbers: Sequence[int] = (), seen: Callable[[Claim], object] = lambda claim: None
) -> Table:
    """Decides the claims with those numbers, or all; `seen` is told which one is next."""
    rows = []
    for one in CLAIMS:
        if not numbers or one.number in numbers:
            seen(one)
            rows.append(Decided(one, one.decide(bench)))
    return Table(rows, server, bench.rate, bench.seconds, bench.others_share)
