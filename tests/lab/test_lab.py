"""The API, as its users call it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from zephyr_lab import IsolationLevel, Lab
from zephyr_lab.anomalies import anomaly
from zephyr_lab.errors import BadInput, ServerLost
from zephyr_lab.explore.verdict import VerdictKind
from zephyr_lab.schedule import specfile
from zephyr_lab.shipped import shipped

THREE = ["non-repeatable-read", "phantom", "lost-update"]


def test_the_matrix_says_what_postgresqls_manual_says(lab: Lab) -> None:
    """Chapter 13.2, three anomalies at four levels; each cell carries the transcript that shows it."""
    with shipped("data", "postgresql-manual-13.2.csv").open() as file:
        manual = {row.pop("anomaly"): row for row in csv.DictReader(file)}
    seen: list[str] = []
    measured = lab.matrix(THREE, on_progress=lambda anomaly, level: seen.append(f"{anomaly.name} {level}"))
    said = json.loads(json.dumps(measured.to_dict()))
    assert {name: said["matrix"][name] for name in manual} == manual
    assert len(seen) == 12
    assert measured.unexpected() == []
    for name, levels in manual.items():
        for level, verdict in levels.items():
            evidence = said["evidence"][name][level]
            transcript = evidence["transcript"]
            assert (transcript["case"], transcript["isolation"]) == (name, level)
            failed = {event["sqlstate"] for event in transcript["events"] if "sqlstate" in event}
            assert failed == ({"40001"} if verdict == "aborts 40001" else set())
            assert (evidence["outcome"] in evidence["serial_outcomes"].values()) == (verdict != "occurs")


def test_a_cell_that_differs_from_the_manual_is_reported(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail."""
    measured = lab.matrix(THREE)
    one = anomaly("non-repeatable-read")
    monkeypatch.setitem(one.expected, IsolationLevel.SERIALIZABLE, VerdictKind.OCCURS)  # type: ignore[arg-type]
    assert "non-repeatable-read at serializable: expected occurs, measured prevented" in measured.unexpected()


@pytest.mark.parametrize(
    ("case", "level", "schedule", "kind"),
    [
        ("lost-update", "read committed", "A A A B B B", VerdictKind.PREVENTED),
        ("lost-update", "serializable", "B B B A A A", VerdictKind.PREVENTED),
        ("lost-update", "read committed", "A B A A B B", VerdictKind.OCCURS),
        ("lost-update", "repeatable read", "B A B A B A", VerdictKind.ABORTS_40001),
        ("phantom", "read committed", "A A A B B", VerdictKind.PREVENTED),
        ("phantom", "read committed", "A B A B A", VerdictKind.PREVENTED),
        ("non-repeatable-read", "read committed", "A B", VerdictKind.UNDECIDED),
    ],
)
def test_a_verdict_depends_on_the_schedule(lab: Lab, case: str, level: str, schedule: str, kind: VerdictKind) -> None:
    """A serial one is never an anomaly; one that stops early cannot be judged."""
    assert lab.case(case, level).verdict(schedule).kind is kind


def test_a_lost_update_is_told_by_its_outcomes(lab: Lab) -> None:
    """Without an invariant: both serial orders end at 100,000 roubles, the schedule at 95,000."""
    verdict = lab.case("lost-update").verdict("A B A B A B")
    assert verdict.anomalous
    assert [dict(outcome.final)["slots"].rows[0][1] for outcome in verdict.serial.values()] == [100000, 100000]
    assert dict(verdict.outcome.final)["slots"].rows[0][1] == 95000


def test_levels_may_be_psycopgs(lab: Lab) -> None:
    """And a case can be taken to another level."""
    case = lab.case("phantom", psycopg.IsolationLevel.SERIALIZABLE)
    assert case.isolation is IsolationLevel.SERIALIZABLE
    assert case.at("READ UNCOMMITTED").run().isolation == "read uncommitted"
    assert case.expected == "prevented"


def test_bad_names_are_refused_with_what_there_is(lab: Lab, tmp_path: Path) -> None:
    """Unknown case, unknown level, a spec without an entry in the catalogue."""
    with pytest.raises(BadInput, match="unknown case 'lost update'; there are: aborted-read, "):
        lab.case("lost update")
    with pytest.raises(BadInput, match="unknown isolation level 'snapshot'"):
        lab.case("phantom", isolation="snapshot")
    (tmp_path / "mine.spec").write_text("session A step a { select 1 as one; }")
    case = lab.case(tmp_path / "mine.spec")
    assert case.run("A").rows("a") == ((1,),)
    with pytest.raises(BadInput, match="unknown anomaly 'mine'"):
        _ = case.expected


def test_a_transcript_shows_itself_in_jupyter(lab: Lab) -> None:
    """As PNG, SVG and text, the same bytes each time; and as JSON without loss of words."""
    transcript = lab.case("lost-update", "repeatable read").run()
    bundle = transcript._repr_mimebundle_()
    assert bundle == lab.case("lost-update", "repeatable read").run()._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "waits for A (transactionid, slots)" in bundle["image/svg+xml"]
    assert bundle["text/plain"] == str(transcript)
    assert json.loads(json.dumps(transcript.to_dict())) == transcript.to_dict()
    assert lab.matrix(THREE)._repr_mimebundle_()["image/svg+xml"].count("aborts 40001") >= 2


def test_redis_is_real_and_has_room_of_its_own(lab: Lab) -> None:
    """Valkey 9 with Lua; the client never sends a command twice by itself."""
    key = lab.redis_prefix + "slot"
    lab.redis.set(key, 95_000)
    assert lab.redis.eval("return redis.call('incrby', KEYS[1], 5000)", 1, key) == 100_000
    assert lab.redis.info("server")["valkey_version"].startswith("9.")
    assert lab.redis.get_retry().get_retries() == 0


@pytest.mark.server
def test_a_closed_lab_leaves_nothing_and_may_be_closed_twice() -> None:
    """Server and folder are gone."""
    lab = Lab()
    with lab.connect() as connection:
        folder = Path(connection.info.host)
        pid = connection.execute("select pg_backend_pid()").fetchone()
    assert folder.is_dir()
    assert pid
    lab.close()
    lab.close()
    assert not folder.exists()
    assert not Path(f"/proc/{pid[0]}").exists()


def test_a_forked_child_does_not_stop_its_parents_servers(lab: Lab) -> None:
    """Not even when it ends as a program does, running its exit functions."""
    program = (
        "import os, sys\n"
        "from zephyr_lab import Lab\n"
        "lab = Lab()\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "print(lab.case('phantom').verdict().kind)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.stdout.strip(), done.stderr) == ("occurs", "")


MIXED = """
    setup { create table slots (slot text primary key, booked int); insert into slots values ('a', 0), ('b', 0); }
    teardown { drop table slots; }
"""


@pytest.mark.parametrize(
    ("name", "sessions", "level", "schedule", "kind"),
    [
        (
            "autocommitted statements are transactions of their own",
            "session A step a1 { select booked from slots where slot = 'a'; } "
            "step a2 { select booked from slots where slot = 'a'; } "
            "session B step b1 { update slots set booked = 1 where slot = 'a'; }",
            "serializable", "A B A", "prevented",
        ),
        (
            "a program that ended by another step than its last is not unfinished",
            "session A step a1 { begin; update slots set booked = 1 where slot = 'a'; } step a2 { commit; } "
            "step a3 { rollback; } session B step b1 { update slots set booked = booked + 1 where slot = 'a'; }",
            "read committed", "a1 b1 a2", "prevented",
        ),
        (
            "only the transaction that was refused takes no part",
            "session A step a1 { update slots set booked = 5 where slot = 'b'; } "
            "step a2 { begin; select booked from slots where slot = 'a'; } "
            "step a3 { update slots set booked = 2 where slot = 'a'; } step a4 { rollback; } "
            "session B step b1 { update slots set booked = 1 where slot = 'a'; }",
            "repeatable read", "A A B A A", "aborts 40001",
        ),
        (
            "a NOWAIT that was refused never was",
            "session A step a1 { begin; update slots set booked = 1 where slot = 'a'; } step a2 { commit; } "
            "session B step b1 { select booked from slots where slot = 'a' for update nowait; }",
            "read committed", "A B A", "aborts",
        ),
        (
            "rows without an order are compared as a bag",
            # In the table C finds a, b, c; after A then B it finds a, c, b, after B then A b, a, c.
            "session A step a1 { begin; update slots set booked = 1 where slot = 'a'; } "
            "step a2 { insert into slots values ('c', 0); } step a3 { commit; } "
            "session B step b1 { update slots set booked = 1 where slot = 'b'; } "
            "session C step c1 { select slot from slots; }",
            "read committed", "A B A A C", "prevented",
        ),
        (
            "a clock cannot be compared",
            "session A step a1 { insert into slots values (clock_timestamp()::text, 1); } "
            "session B step b1 { select 1 as one; }",
            "read committed", "A B", "undecided",
        ),
        (
            "a serial order that waits for ever cannot be compared",
            "session A step a1 { select pg_advisory_lock(1); } step a2 { select pg_advisory_unlock(1); } "
            "session B step b1 { select pg_advisory_lock(1); } step b2 { select pg_advisory_unlock(1); }",
            "read committed", "A B A B", "undecided",
        ),
        (
            "too many orders are not run",
            " ".join(f"session S{n} step s{n} {{ select {n} as n; }}" for n in range(8)),
            "read committed", "S0 S1 S2 S3 S4 S5 S6 S7", "undecided",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value and len(value) < 80 else "",
)  # fmt: skip
def test_transactions_are_judged_not_sessions(
    lab: Lab, name: str, sessions: str, level: str, schedule: str, kind: str
) -> None:
    """Committed ones in every order that keeps each session's own; aborted ones never were."""
    verdict = lab.case(specfile.parse(MIXED + sessions, name=name), level).verdict(schedule)
    assert str(verdict.kind) == kind, verdict


@pytest.mark.server
def test_a_closed_lab_says_so() -> None:
    """Instead of failing somewhere below."""
    with Lab() as lab:
        case = lab.case("phantom")
    for use in (case.run, lab.connect, lambda: lab.redis):
        with pytest.raises(ServerLost, match="this lab is closed"):
            use()


def test_the_environments_settings_change_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq reads many variables; a lab on servers of its own listens to none of them."""
    text = "session A step a { select '2026-03-01 12:00'::timestamptz as at, 0.1::float8 as n; }"
    before = str(lab.case(specfile.parse(text)).run("A"))
    for name, value in {
        "PGTZ": "Asia/Tokyo",
        "PGDATESTYLE": "German",
        "PGHOSTADDR": "127.0.0.2",
        "PGPORT": "1",
        "PGSSLMODE": "require",
        "PGOPTIONS": "-c default_transaction_read_only=on",
        "PGUSER": "nobody",
        "PGTARGETSESSIONATTRS": "standby",
    }.items():
        monkeypatch.setenv(name, value)
    with Lab() as other:
        assert str(other.case(specfile.parse(text)).run("A")) == before
    assert os.environ["PGTZ"] == "Asia/Tokyo"
