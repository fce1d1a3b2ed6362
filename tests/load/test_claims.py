"""The claims table: verdicts come out of what is run, and of what the write-up says some hold and some do not."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.load.claims import CLAIMS
from zephyr_lab.load.claims_load import LOAD
from zephyr_lab.load.finding import Bench, Finding, Verdict
from zephyr_lab.servers.keyvalue import KeyValue

NEED_NO_LOAD = tuple(range(len(LOAD) + 1, len(CLAIMS) + 1))
H, D, W = Verdict.HOLDS, Verdict.DOES_NOT_HOLD, Verdict.HOLDS_WHEN
DECIDED = {
    "reads": H, "upsert": D, "idempotent": D, "stress_test": D, "recognised": W, "assign_with_retry": D,
    "any_error": D, "counter": D, "release": W, "table_exists": W, "sizes": D, "bounds": D, "index_use": D,
    "missing_partitions": D, "create_next": D, "cron": W, "grants": W, "grant": W, "show": W, "set_transaction": D,
    "alter_database": D, "locks": D, "blocking": D,
}  # fmt: skip
SAID = (
    "42P10", "an order sent twice is 2 rows", "comes again is pending",
    "of 100 orders 100 fail, 0 of them as it counts",
    "an order of 1,000 roubles is booked as 2,000", "first, as 1,000", "told RESOURCE_EXHAUSTED", "UNAVAILABLE is what",
    "200,000 roubles sold of 100,000", "0 roubles left behind", "120,000 roubles sold of 100,000", "2,000 taken off",
    "0 bytes", "0 of 2 partitions", "42703", "0 rows with 2 partitions", "42883", "every order waits behind it",
    "may, by its name 42501", "the next one is read committed", "42702", "3 pairs are said to block each other",
    "by the lock manager 0",
)  # fmt: skip


def test_claims_that_need_no_load_are_decided_by_the_servers(lab: Lab) -> None:
    """The service's code and the runbook's SQL; and nothing is left of the database in which it was tried."""
    found = lab.claims(NEED_NO_LOAD)
    assert {row.claim.decide.__name__: row.finding.verdict for row in found.rows} == DECIDED
    measured = " ".join(row.finding.measured for row in found.rows)
    assert [words for words in SAID if words not in measured] == []
    assert [row["number"] for row in json.loads(found.to_json())["claims"]] == list(NEED_NO_LOAD)
    assert found.to_markdown().count("\n| ") == len(NEED_NO_LOAD)
    assert str(found).endswith(f"measured on {lab.server}")
    assert repr(found) == "23 claims: 1 holds, 7 holds when, 15 does not hold"
    assert lab.server not in found._repr_markdown_()
    assert found.figure().text == repr(found)
    assert repr(found + found).startswith("46 claims: 2 holds")
    with lab.connect() as connection:
        assert connection.execute("select from pg_roles where rolname like 'claims_%'").rowcount == 0
        assert connection.execute("select from pg_database where datname like 'claims_%'").rowcount == 0
    assert lab.redis.dbsize() == 0


def test_a_redis_of_somebody_elses_is_not_emptied(lab: Lab) -> None:
    """Those claims are refused, before anything is sent to it."""
    lasting = KeyValue(lab.redis_url, external=True)
    try:
        bench = Bench(lab.incident, lab.connect, lambda: lasting)
        with pytest.raises(BadInput, match="unset ZEPHYR_LAB_REDIS_URL"):
            bench.valkey()
    finally:
        lasting.close()


@pytest.mark.thorough
def test_claims_about_levels_are_decided_by_load(lab: Lab) -> None:
    """As in notebook 35, which CI executes: lost updates, a lock inside SERIALIZABLE, five attempts."""
    wanted = {one.decide.__name__: one.number for one in CLAIMS}
    numbers = [wanted[name] for name in ("lost_updates", "for_update_inside", "at_most_five")]
    found = lab.claims(numbers, rate=300, seconds=1)
    assert list(found.verdicts().values()) == [Verdict.HOLDS, Verdict.HOLDS_WHEN, Verdict.DOES_NOT_HOLD]


def test_a_condition_is_run_once(lab: Lab) -> None:
    """Claims share their runs."""
    asked = []
    bench = Bench(lambda incident: asked.append(incident), lab.connect, None)  # type: ignore[arg-type, return-value, func-returns-value]
    for _ in range(3):
        bench.load("one-statement", slots=4)
    bench.load("one-statement", slots=16)
    assert [one.slots for one in asked] == [4, 16]


def test_unknown_numbers_are_refused(lab: Lab) -> None:
    """With those that there are."""
    with pytest.raises(BadInput, match=rf"no claim 99; they are numbered from 1 to {len(CLAIMS)}"):
        lab.claims([99])


def test_claims_are_numbered_as_they_stand() -> None:
    """And every verdict reads as a sentence."""
    assert [one.number for one in CLAIMS] == list(range(1, len(CLAIMS) + 1))
    assert Finding(Verdict.HOLDS_WHEN, "", "it rains").said == "holds when it rains"
    assert Finding(Verdict.DOES_NOT_HOLD, "").said == "does not hold"


def test_the_stored_table_has_every_claim() -> None:
    """docs/claims.md is what `zephyr-lab claims --format markdown` printed."""
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \| \*\*(.+?)\*\*", text, re.MULTILINE)
    assert [(int(number), said) for number, said, _ in rows] == [(one.number, one.said) for one in CLAIMS]
    assert {verdict for *_, verdict in rows} <= set(Verdict)
    assert "others took up to" in text
