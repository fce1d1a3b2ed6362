"""The claims table: verdicts come out of what is run, and of what the write-up says some hold and some do not."""

from __future__ import annotations

import json
import re

import pytest

from tests.acceptance.test_cli import run
from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.load.claims import CLAIMS, Bench, Finding, Verdict

NO_LOAD = tuple(one.number for one in CLAIMS if one.decide.__name__ in (
    "upsert", "stress_test", "recognised", "set_transaction", "alter_database", "table_exists",
))  # fmt: skip


def test_claims_that_need_no_load_are_decided_by_the_server(lab: Lab) -> None:
    """The upsert, its stress test, its search for words, its SQL about levels and tables."""
    found = lab.claims(NO_LOAD)
    assert len(NO_LOAD) == 6
    assert list(found.verdicts().values()) == [
        Verdict.DOES_NOT_HOLD, Verdict.DOES_NOT_HOLD, Verdict.HOLDS_WHEN, Verdict.DOES_NOT_HOLD, Verdict.DOES_NOT_HOLD,
        Verdict.HOLDS_WHEN,
    ]  # fmt: skip
    said = str(found)
    for words in ("42P10", "of 100 orders 100 fail, 0 of them as it counts", "the next one is read committed"):
        assert words in said
    rows = json.loads(found.to_json())["claims"]
    assert [row["number"] for row in rows] == list(NO_LOAD)
    assert found.to_markdown().count("\n| ") == len(NO_LOAD)
    with lab.connect() as connection:
        left = connection.execute("select from pg_roles where rolname like 'claims_%'")
        assert left.rowcount == 0


@pytest.mark.slow
def test_claims_about_levels_are_decided_by_load(lab: Lab) -> None:
    """Lost updates hold, a lock inside SERIALIZABLE is no remedy, and five attempts are four retries."""
    wanted = {one.decide.__name__: one.number for one in CLAIMS}
    numbers = [wanted[name] for name in ("lost_updates", "for_update_inside", "at_most_five")]
    found = lab.claims(numbers, rate=300, seconds=1)
    assert list(found.verdicts().values()) == [Verdict.HOLDS, Verdict.HOLDS_WHEN, Verdict.DOES_NOT_HOLD]


def test_a_condition_is_run_once(lab: Lab) -> None:
    """Claims share their runs."""
    asked = []
    bench = Bench(lambda incident: asked.append(incident), lab.connect)  # type: ignore[arg-type, return-value, func-returns-value]
    for _ in range(3):
        bench.load("one-statement", slots=4)
    bench.load("one-statement", slots=16)
    assert [one.slots for one in asked] == [4, 16]


def test_unknown_numbers_are_refused(lab: Lab) -> None:
    """With those that there are; by the command as well."""
    with pytest.raises(BadInput, match=rf"no claim 99; they are numbered from 1 to {len(CLAIMS)}"):
        lab.claims([99])
    done = run("claims", "99")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no claim 99" in done.stderr


def test_claims_are_numbered_as_they_stand() -> None:
    """And every verdict reads as a sentence."""
    assert [one.number for one in CLAIMS] == list(range(1, len(CLAIMS) + 1))
    assert Finding(Verdict.HOLDS_WHEN, "", "it rains").said == "holds when it rains"
    assert Finding(Verdict.DOES_NOT_HOLD, "").said == "does not hold"


def test_the_stored_table_has_every_claim() -> None:
    """zephyr_lab/load/claims.md is what `zephyr-lab claims --format markdown` printed."""
    text = (ROOT / "zephyr_lab" / "load" / "claims.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \| \*\*(.+?)\*\*", text, re.MULTILINE)
    assert [(int(number), said) for number, said, _ in rows] == [(one.number, one.said) for one in CLAIMS]
    assert {verdict for *_, verdict in rows} <= set(Verdict)
    assert "others took up to" in text
