"""Claims about how the service behaves with many orders at once: decided by putting it under load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zephyr_lab.errors import LabError
from zephyr_lab.load.finding import Bench, Chapter, Finding, Verdict, either
from zephyr_lab.load.report import Report

SLOTS = (1, 4, 16, 64)
POOLS = (1, 2, 4, 8, 25)

LOAD = Chapter()


def _over(report: Report) -> str:
    return f"{report.truth.oversold} of {report.truth.slots} slots oversold, by {report.truth.roubles_over:,} roubles"


# -- the incident


@LOAD.claim("5 race conditions were detected at 800 RPS with slots of 100,000 roubles")
def race_conditions(bench: Bench) -> Finding:
    """The detector that found them, at a service that oversells and at one that does not."""
    broken, right = (bench.load(name, detector=True) for name in ("redis-get-then-incrby", "one-statement"))
    measured = (
        f"its detector says {broken.counts.hits} where {_over(broken)}, and {right.counts.hits} where "
        f"{right.truth.oversold} are: it counts who else has booked between two polls"
    )
    if right.counts.hits and not right.truth.oversold:
        return Finding(Verdict.DOES_NOT_HOLD, measured)
    return Finding(either(bool(broken.truth.oversold)), measured)


@LOAD.claim("READ COMMITTED is insufficient for concurrent writes")
def read_committed(bench: Bench) -> Finding:
    """The same level, reading first and writing later, or deciding where the row is changed."""
    broken = [bench.load(name) for name in ("check-then-insert", "read-then-write")]
    right = [bench.load(name) for name in ("one-statement", "select-for-update", "server-side-function")]
    sold = "; ".join(f"{one.incident.strategy}: {_over(one)}" for one in [*broken, *right])
    if any(one.truth.oversold for one in broken) and not any(one.truth.oversold for one in right):
        return Finding(Verdict.HOLDS_WHEN, sold, "the service reads first and writes later")
    return Finding(either(any(one.truth.oversold for one in right)), sold)


@LOAD.claim("lost updates happen at READ COMMITTED")
def lost_updates(bench: Bench) -> Finding:
    one = bench.load("read-then-write")
    lost = one.truth.lost_updates
    return Finding(either(lost > 0), f"the counter lacks {lost:,} roubles of {one.created:,} orders; {_over(one)}")


@LOAD.claim("the Lua script is atomic, but orders that check at once all see room and all increment")
def lua(bench: Bench) -> Finding:
    script, two = bench.load("redis-lua"), bench.load("redis-get-then-incrby")
    measured = f"one script: {_over(script)}; GET, then INCRBY: {_over(two)}"
    return Finding(either(script.truth.oversold > 0), measured)


# -- the fix


@LOAD.claim("saving orders at SERIALIZABLE ends the race conditions (slots in Redis)")
def serializable_insert(bench: Bench) -> Finding:
    one = bench.load("redis-get-then-incrby", isolation="serializable")
    measured = f"GET, then INCRBY, and the insert at SERIALIZABLE: {_over(one)}; {one.refusals} refusals: orders with "
    return Finding(either(one.truth.oversold == 0), measured + "different ids are independent")


@LOAD.claim("Lua script and SERIALIZABLE together: race conditions from 5 to 0")
def documented_fix(bench: Bench) -> Finding:
    both, alone = bench.load("redis-lua-serializable"), bench.load("redis-lua")
    measured = f"both: {_over(both)}, p99 {both.latency(99):.1f} ms; Lua and READ COMMITTED: {_over(alone)}, "
    measured += f"p99 {alone.latency(99):.1f} ms"
    if both.truth.oversold:
        return Finding(Verdict.DOES_NOT_HOLD, measured)
    if alone.truth.oversold:
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "the script is there; SERIALIZABLE has no part in it")


@LOAD.claim("SERIALIZABLE prevents all anomalies (slots in PostgreSQL)")
def serializable_prevents(bench: Bench) -> Finding:
    reports = [bench.load("serializable-retry", slots=slots) for slots in SLOTS]
    over = sum(one.truth.oversold + one.truth.lost_updates + len(one.truth.lost) for one in reports)
    return Finding(either(over == 0), "; ".join(f"{one.incident.slots} hot: {_over(one)}" for one in reports))


@LOAD.claim("SELECT FOR UPDATE for the capacity check, inside SERIALIZABLE")
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


@LOAD.claim("serialization failures stay under 5 %")
def failures(bench: Bench) -> Finding:
    return _by_slots(bench, lambda one: one.failed_attempts, 0.05, lambda share: f"{share:.0%} of attempts")


@LOAD.claim("retries stay under 2 an order")
def retries(bench: Bench) -> Finding:
    return _by_slots(bench, lambda one: one.retries_an_order, 2, lambda number: f"{number:.2f}")


@LOAD.claim("throughput falls by 5 to 10 %")
def throughput(bench: Bench) -> Finding:
    without = bench.load("one-statement")
    finding = _by_slots(
        bench, lambda one: 1 - one.created / without.created, 0.10, lambda share: f"{max(0.0, share):.0%} fewer orders"
    )
    return replace(finding, measured=finding.measured + " than one statement at READ COMMITTED saves")


@LOAD.claim("transactions take under 50 ms")
def transactions(bench: Bench) -> Finding:
    one = bench.load("serializable-retry")
    mean = one.counts.transaction.mean()
    measured = f"{mean:.1f} ms on average, while an order's p99 is {one.latency(99):,.0f} ms: the time is in pauses "
    return Finding(either(mean < 50), measured + "between attempts and in the queue for a connection")


@LOAD.claim("lock waits are under 10 ms")
def lock_waits(bench: Bench) -> Finding:
    found = [bench.load(name) for name in ("one-statement", "select-for-update", "advisory-lock", "serializable-retry")]
    waits: dict[str, tuple[float, float]] = {}
    for one in found:
        if one.lock_wait is None or one.watched.longest_wait is None:
            raise LabError(f"{one.incident.strategy}: no lock wait was measured: {one.watched.why_not}")
        waits[one.incident.strategy] = (one.lock_wait, one.watched.longest_wait)
    measured = "; ".join(
        f"{name} {mean:.1f} ms on average, longest {1000 * longest:,.0f} ms" for name, (mean, longest) in waits.items()
    )
    good = [name for name, (mean, _) in waits.items() if mean < 10]
    if not good:
        return Finding(Verdict.DOES_NOT_HOLD, measured)
    if len(good) == len(found) and all(longest < 0.010 for _, longest in waits.values()):
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, f"averages are meant, of {', '.join(good)}")


@LOAD.claim("at most 5 retries, with backoff and jitter")
def at_most_five(bench: Bench) -> Finding:
    one = bench.load("serializable-retry")
    most = max(one.counts.retries, default=0)
    measured = (
        f"at most {most} retries in {most + 1} attempts; {one.given_up:.0%} of the orders are given up after them"
    )
    return Finding(either(most == 5), measured)


@LOAD.claim("a pool of 25 connections; more for high load")
def pool(bench: Bench) -> Finding:
    found = {size: bench.load("serializable-retry", pool=size) for size in POOLS}
    measured = ", ".join(
        f"{size}: {one.failed_attempts:.0%} refused, p99 {one.latency(99):,.0f} ms" for size, one in found.items()
    )
    fewer = found[1].failed_attempts < found[POOLS[-1]].failed_attempts
    return Finding(either(not fewer), "connections " + measured)
