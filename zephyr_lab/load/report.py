"""The report of a run: as text, as JSON, as a page, as a row of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zephyr_lab.errors import RETRYABLE, BadInput, condition_name
from zephyr_lab.extras import or_text
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import PERIOD, Counts, Outcome
from zephyr_lab.load.distant import Clock
from zephyr_lab.load.faults import Happened
from zephyr_lab.load.server_monitor import Cpu, Seen
from zephyr_lab.load.truth import Truth

if TYPE_CHECKING:
    import pandas as pd

    from zephyr_lab.views.figure import Picture


RECOVERED = 0.95
REFUSALS = RETRYABLE | {"SlotChanged"}


@dataclass
class Report:
    """A run's measurements. Rates in orders a second, durations in milliseconds, money in whole roubles."""

    incident: Incident
    server: str
    counts: Counts
    truth: Truth
    watched: Seen
    cpu: Cpu
    deadlocks: int
    stopped: bool = False
    faults: tuple[Happened, ...] = ()
    problems: tuple[str, ...] = ()
    processes_lost: int = 0
    clocks: tuple[Clock, ...] = ()

    # -- figures

    @property
    def sent(self) -> int:
        return len(self.counts.outcomes) - self.counts.of_outcome(Outcome.UNSENT)

    @property
    def created(self) -> int:
        return self.counts.of_outcome(Outcome.CREATED)

    @property
    def seconds(self) -> float:
        """Duration from the start to the last answer; at least the planned one, if the run was not stopped."""
        planned = 0.0 if self.stopped else self.incident.seconds
        return max(planned, self.counts.last_end)

    @property
    def offered_rate(self) -> float:
        wall = self.counts.last_end if self.stopped or self.incident.is_closed else self.incident.seconds
        return self.sent / wall if wall else 0.0

    @property
    def achieved_rate(self) -> float:
        return self.created / self.seconds if self.seconds else 0.0

    @property
    def achieved_share(self) -> float:
        """Created orders, as a share of all orders."""
        return self.created / self.sent if self.sent else 0.0

    @property
    def refusals(self) -> int:
        """The number of refused attempts: 40001, 40P01, a slot that has changed."""
        return sum(count for code, count in self.counts.refusals.items() if code in REFUSALS)

    @property
    def failed_attempts(self) -> float:
        """Refused attempts, as a share of all attempts: from 0 to 1."""
        return self.refusals / self.counts.attempts if self.counts.attempts else 0.0

    @property
    def given_up(self) -> float:
        """Orders refused at every attempt, as a share of all orders: from 0 to 1."""
        return self.counts.of_outcome(Outcome.GIVEN_UP) / self.sent if self.sent else 0.0

    @property
    def retries_an_order(self) -> float:
        orders = sum(self.counts.retries.values())
        return (self.counts.attempts - orders) / orders if orders else 0.0

    @property
    def lock_wait(self) -> float | None:
        """Milliseconds of lock waits per transaction, by the server (Little's law); None if not measured."""
        if self.watched.mean_waiting is None:
            return None
        seconds = self.watched.mean_waiting * self.seconds
        return 1000 * seconds / self.counts.attempts if self.counts.attempts else 0.0

    def latency(self, percentile: float) -> float:
        """The latency of created orders, from their intended start."""
        return self.counts.latency.percentile(percentile)

    def recovered(self, fault: Happened) -> float | None:
        """Seconds from the end of a fault until 95 % of the offered rate is acknowledged again, and stays so.

        For a second, and for the rest of the run; to a quarter of a second. None: not within the run.
        """
        window, first, last = round(1 / PERIOD), int(fault.gone / PERIOD), int(self.incident.seconds / PERIOD)

        def holds(begin: int, end: int) -> bool:
            asked, done = (
                sum(counted[at] for at in range(begin, end)) for counted in (self.counts.offered, self.counts.created)
            )
            return done >= RECOVERED * asked

        for at in range(first, last - window + 1):
            if holds(at, at + window) and holds(at, last):
                return max(0.0, at * PERIOD - fault.gone)
        return None

    @property
    def wrong(self) -> list[str]:
        """The violations, in words."""
        return self.truth.wrong()

    @property
    def breaks_a_promise(self) -> bool:
        """Whether orders are lost, or slots oversold at a level at which the strategy promises that none is."""
        truth, promises = self.truth, self.incident.as_strategy().promises and self.incident.isolation is None
        return bool(truth.lost or truth.unexpected or truth.twice or (promises and self.wrong))

    @property
    def verdict(self) -> str:
        failed = [f"{count:,} orders failed: {_named(code)}" for code, count in sorted(self.counts.errors.items())
                  if self.counts.of_outcome(Outcome.FAILED) and code not in REFUSALS]  # fmt: skip
        given_up = [f"{self.given_up:.0%} of the orders given up"] if self.given_up else []
        return "; ".join([*(self.wrong or ["nothing oversold, nothing lost"]), *given_up, *failed])

    def row(self) -> dict[str, Any]:
        """Every figure by its name, as a flat dictionary."""
        counts, truth = self.counts, self.truth
        return {
            "strategy": self.incident.strategy, "isolation": self.incident.isolation or "its own",
            "through": self.incident.through, "arrivals": self.incident.arrivals, "seed": self.incident.seed,
            "slots_hot": self.incident.slots, "pool": self.incident.pool, "capacity": self.incident.capacity,
            "index": self.incident.index, "sent": self.sent, "created": self.created,
            "offered_rate": self.offered_rate, "achieved_rate": self.achieved_rate,
            "p50_ms": self.latency(50), "p95_ms": self.latency(95), "p99_ms": self.latency(99),
            "max_ms": self.latency(100), "attempts": counts.attempts, "refused_attempts": self.refusals,
            "failed_attempts": self.failed_attempts, "given_up": self.given_up, "retries": self.retries_an_order,
            "transaction_ms": counts.transaction.mean(),
            "transaction_p99_ms": counts.transaction.percentile(99),
            "pool_wait_p99_ms": counts.pool_wait.percentile(99), "most_waiting_in_pool": counts.most_waiting,
            "lock_wait_ms": self.lock_wait,
            "longest_lock_wait_ms": None if self.watched.longest_wait is None else 1000 * self.watched.longest_wait,
            "deadlocks": self.deadlocks, "full": counts.of_outcome(Outcome.FULL),
            "no_connection": counts.of_outcome(Outcome.NO_CONNECTION),
            "unanswered": counts.of_outcome(Outcome.UNANSWERED), "failed": counts.of_outcome(Outcome.FAILED),
            "oversold_slots": truth.oversold, "slots_used": truth.slots, "roubles_over": truth.roubles_over,
            "lost_updates_roubles": truth.lost_updates, "leaked_roubles": truth.leaked,
            "acknowledged": truth.acknowledged, "rows": truth.rows, "saved_unanswered": truth.saved_unanswered,
            "lost_orders": len(truth.lost), "unexpected_orders": len(truth.unexpected), "twice": len(truth.twice),
            "detector_hits": counts.hits if self.incident.detector else None,
            "cpu_client_s": self.cpu.client, "cpu_postgresql_s": self.cpu.postgresql,
            "cpu_valkey_s": self.cpu.valkey, "cpu_others_s": self.cpu.others, "cpu_others_share": self.cpu.others_share,
            "idle_share": self.cpu.idle_share, "client_us_an_order": self.client_an_order,
            "machine_too_busy": self.cpu.is_too_busy, "seconds_behind": counts.seconds_behind,
        }  # fmt: skip

    # -- forms

    def to_dict(self) -> dict[str, Any]:
        """For JSON: conditions, figures, refusals and errors by SQLSTATE, the course of the run by period."""
        periods = range(round(self.seconds / PERIOD) + 1)
        return {
            "incident": asdict(self.incident), "server": self.server, "stopped": self.stopped,
            "faults": [{**asdict(one), "recovered": self.recovered(one)} for one in self.faults],
            "problems": list(self.problems), "wrong": self.wrong, "verdict": self.verdict, "figures": self.row(),
            "refusals": dict(self.counts.refusals), "errors": dict(self.counts.errors),
            "retries": {str(number): self.counts.retries[number] for number in sorted(self.counts.retries)},
            "latency_ms": {str(at): self.latency(at) for at in (0, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)},
            "course": {
                "period_seconds": PERIOD, "offered": [self.counts.offered[at] for at in periods],
                "created": [self.counts.created[at] for at in periods],
                "oversold": self._oversold(len(periods) - 1),
            },
            "clocks": [asdict(one) for one in self.clocks],
            "not_measured": dict(self.watched.failures), "seconds_not_seen": self.watched.blind,
            "lost": [str(id) for id in self.truth.lost[:100]],
            "unexpected": [str(id) for id in self.truth.unexpected[:100]],
        }  # fmt: skip

    def _oversold(self, last: int) -> dict[str, int]:
        """As watched, and in the end: what the last look has not seen, the truth has."""
        return {**{str(at): slots for at, slots in self.watched.oversold.items()}, str(last): self.truth.oversold}

    def __str__(self) -> str:
        return _aligned([*self.lines(), *self.machine()])

    def machine(self) -> list[tuple[str, str]]:
        """The machine on which it was measured."""
        spent = f"{_cpu(self.cpu)}; idle {self.cpu.idle_share:.0%}; clients {self.client_an_order:,.0f} us an order"
        said = [("server", self.server), ("processors", spent)]
        return [*said, ("clocks", _clocks(self.clocks))] if self.clocks else said

    def lines(self) -> list[tuple[str, str]]:
        """The printed lines, each a name and its text."""
        one, counts, truth = self.incident, self.counts, self.truth
        asked = f"{one.connections} clients, closed loop" if one.is_closed else f"{one.rate:g}/s, {one.arrivals}"
        said = [
            ("strategy", f"{one.name}, through {one.through}"),
            ("asked for", f"{self.sent:,} orders in {self.seconds:.1f} s ({asked}), {one.slots} hot, pool of {one.pool}"
                          + (", stopped early" if self.stopped else "")),
            ("created", f"{self.created:,} ({self.achieved_share:.1%}), {self.achieved_rate:,.0f}/s"),
            ("latency", self._latency()),
            ("attempts", f"{counts.attempts:,}, of which {self.failed_attempts:.1%} were refused"
                         f"{_by_code(counts.refusals)}; {self.retries_an_order:.2f} retries an order"),
            ("transaction", f"{counts.transaction.mean():.1f} ms on average, "
                            f"p99 {counts.transaction.percentile(99):.1f} ms"),
            ("lock wait", self._lock_wait()),
            ("pool", f"p99 {counts.pool_wait.percentile(99):.1f} ms for a connection; "
                     f"at most {counts.most_waiting} waiting"),
            ("not created", self._not_created()),
            ("slots", f"{truth.oversold} of {truth.slots} oversold, by {truth.roubles_over:,} roubles; "
                      f"counter lacks {truth.lost_updates:,}, has {truth.leaked:,} too many"),
            ("orders", f"{truth.acknowledged:,} acknowledged, {truth.rows:,} rows; {len(truth.lost)} lost; of "
                       f"{truth.unanswered} unanswered ones {truth.saved_unanswered} are saved"),
        ]  # fmt: skip
        if one.detector:
            said.append(
                ("client's detector", f"{counts.hits} race conditions; oversold slots in truth: {truth.oversold}")
            )
        said += [("fault", self._fault(one)) for one in self.faults]
        said += [("no fault", one) for one in self.problems]
        said.append(("verdict", self.verdict))
        if self.processes_lost:
            said.append(("incomplete", f"{self.processes_lost} processes of the run ended without their counts"))
        return said

    def _latency(self) -> str:
        if self.cpu.is_too_busy:
            return (f"not told, machine too busy: clients burnt {self.cpu.client_share:.0%} of it, "
                    f"others {self.cpu.others_share:.0%}")  # fmt: skip
        return (f"p50 {self.latency(50):.1f}, p95 {self.latency(95):.1f}, p99 {self.latency(99):.1f}, "
                f"longest {self.latency(100):,.1f} ms, from the intended start")  # fmt: skip

    @property
    def client_an_order(self) -> float:
        """Microseconds of processor time of the clients, for each order that was sent."""
        return 1e6 * self.cpu.client / self.sent if self.sent else 0.0

    def _fault(self, one: Happened) -> str:
        lasted = f" until {one.gone:.1f} s" if one.gone - one.began > PERIOD else ""
        back = self.recovered(one)
        again = "not again within the run" if back is None else f"again {back:.1f} s after it was gone"
        return f"{one.name} at {one.began:.1f} s{lasted}; {RECOVERED:.0%} of the orders asked for acknowledged {again}"

    def _lock_wait(self) -> str:
        mean, longest = self.lock_wait, self.watched.longest_wait
        said = [
            "not measured" if mean is None else f"{mean:.2f} ms a transaction by the server",
            "longest " + ("not measured" if longest is None else f"{1000 * longest:,.0f} ms"),
            f"{self.deadlocks} deadlocks",
        ]
        if mean is None or longest is None or self.watched.failures:
            said.append(f"not seen for {self.watched.blind:.1f} s: {self.watched.why_not}")
        return "; ".join(said)

    def _not_created(self) -> str:
        names = {
            Outcome.FULL: "full", Outcome.GIVEN_UP: "given up", Outcome.UNANSWERED: "unanswered",
            Outcome.NO_CONNECTION: "without a connection", Outcome.FAILED: "failed",
        }  # fmt: skip
        found = [f"{count:,} {names[kind]}" for kind in names if (count := self.counts.of_outcome(kind))]
        return (", ".join(found) or "none") + _by_code(self.counts.errors)

    # -- pictures

    def figure(self) -> Picture:
        """A figure of the course of the run, its latencies and its retries."""
        from zephyr_lab.views.load import course

        return course(self.to_dict(), _aligned(self.lines()))

    @or_text
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.figure().mimebundle()


def _aligned(lines: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<17}  {said}" for name, said in lines)


def _named(code: str) -> str:
    return f"{code} {condition_name(code)}".strip()


def _by_code(codes: Any) -> str:
    return f" ({', '.join(f'{code} {count:,}' for code, count in sorted(codes.items()))})" if codes else ""


def _clocks(clocks: Sequence[Clock]) -> str:
    ahead, error = [1000 * one.ahead for one in clocks], 1000 * max(one.error for one in clocks)
    return (
        f"of {len(clocks)} clients on a cluster {min(ahead):+.1f} to {max(ahead):+.1f} ms ahead, give or take "
        f"{error:.1f}: they began at most {2 * error:.1f} ms apart; a latency is by one clock alone"
    )


def _cpu(cpu: Cpu) -> str:
    parts = [f"clients {cpu.client:.1f}"]
    parts += [f"PostgreSQL {cpu.postgresql:.1f}"] if cpu.postgresql is not None else []
    parts += [f"Valkey {cpu.valkey:.1f}"] if cpu.valkey is not None else []
    spent = ", ".join(parts)
    return f"{spent} s of {cpu.cores * cpu.wall:.1f} s; others burnt {cpu.others:.1f} s ({cpu.others_share:.0%})"


# -- several runs


def frame(reports: Sequence[Report]) -> pd.DataFrame:
    """A DataFrame, a row for each run."""
    import pandas as pd

    return pd.DataFrame([one.row() for one in reports])


def save(reports: Sequence[Report], path: Path) -> None:
    """Writes Parquet or CSV, by the file's extension. Raises BadInput for any other."""
    check_path(path)
    table = frame(reports)
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)


def check_path(path: Path) -> None:
    """Raises BadInput if results cannot be written there; called before anything is run."""
    if path.suffix not in (".csv", ".parquet"):
        raise BadInput(f"{path.name}: results go to a file that ends in .csv or .parquet")
    if not path.parent.is_dir():
        raise BadInput(f"there is no folder {path.parent} to write {path.name} into")


def _or_dash(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f}"


COLUMNS = (
    "strategy",
    "created/s",
    "p50",
    "p99 ms",
    "refused",
    "given up",
    "retries",
    "lock ms",
    "oversold",
    "roubles over",
)


def compared(reports: Sequence[Report]) -> str:
    """A table as text, a line for each run."""
    rows = [
        (
            one.incident.name, f"{one.achieved_rate:,.0f}", f"{one.latency(50):.1f}", f"{one.latency(99):,.1f}",
            f"{one.failed_attempts:.0%}", f"{one.given_up:.1%}", f"{one.retries_an_order:.2f}", _or_dash(one.lock_wait),
            f"{one.truth.oversold} of {one.truth.slots}", f"{one.truth.roubles_over:,}",
        )
        for one in reports
    ]  # fmt: skip
    widths = [max(len(row[at]) for row in (COLUMNS, *rows)) for at in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (COLUMNS, *rows)
    )


def to_json(reports: Sequence[Report]) -> str:
    return json.dumps([one.to_dict() for one in reports], indent=1)


def to_html(reports: Sequence[Report]) -> str:
    """One HTML page with every run's figures, complete in itself."""
    import jinja2

    pages = jinja2.Environment(loader=jinja2.PackageLoader("zephyr_lab", "load"), autoescape=True)
    overview = comparison(reports).svg if len(reports) > 1 else ""
    return pages.get_template("report.html.j2").render(reports=reports, overview=overview, compared=compared(reports))


def comparison(reports: Sequence[Report]) -> Picture:
    """A figure that compares strategies."""
    from zephyr_lab.views.load import strategies

    return strategies([one.to_dict() for one in reports], compared(reports))
