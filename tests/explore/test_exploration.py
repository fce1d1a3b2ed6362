"""Every schedule that the server admits, as the API and the command line give it."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.explore.counterexample import Counterexample
from zephyr_lab.explore.explorer import Exploration
from zephyr_lab.explore.scheduler import Nondeterminism
from zephyr_lab.schedule import specfile


def test_all_schedules_of_the_lost_update(lab: Lab) -> None:
    """14, of which the two serial ones are right; every example replays to the outcome that it stands for."""
    case = lab.case("lost-update")
    found = case.explore(reduction=False)
    assert (found.schedules, found.complete, found.anomalous, found.run.blocked_steps) == (14, True, 12, 6)
    assert sorted(one.count for one in found.outcomes.values()) == [1, 1, 12]
    for one in found.outcomes.values():
        verdict = case.verdict(one.example)
        assert (verdict.kind, verdict.outcome) == (one.verdict, one.outcome)
    assert found.counterexample
    assert case.verdict(found.counterexample).anomalous


def test_a_search_can_be_cut_short(lab: Lab) -> None:
    """By seconds, by a number of samples, or by an interrupt; what was found so far is kept, and it says so."""
    case = lab.case("lost-update").with_sessions(3)
    cut = case.explore(reduction=False, budget=0.2)
    assert not cut.complete
    assert 0 < cut.schedules < 636
    sampled = case.explore(samples=12, seed=3)
    assert (sampled.schedules, sampled.complete) == (12, False)
    assert sampled.to_dict()["outcomes"] == case.explore(samples=12, seed=3).to_dict()["outcomes"]

    def interrupt(state: Exploration) -> None:
        if state.schedules == 5:
            raise KeyboardInterrupt

    assert case.explore(reduction=False, on_progress=interrupt).schedules == 5
    assert lab.case("phantom").verdict().anomalous


def test_nothing_anomalous_in_a_sample_is_said_to_be_no_proof(lab: Lab) -> None:
    """All schedules are one."""
    case = lab.case("lost-update", "serializable")
    assert "no proof" in str(case.explore(samples=3))
    assert "all 14 schedules" in str(case.explore())
    assert "no proof" not in str(case.explore())


ENDLESS = """
    setup { create table t (n int); insert into t values (0); }
    teardown { drop table t; }
    session A step A1 { update t set n = 1; }
    session B
    step B1 { begin; select set_config('seen.n', n::text, true) from t; }
    step B2 { select pg_sleep(600 * (n - current_setting('seen.n')::int)) is null as slept from t; }
    step B3 { commit; }
"""


def test_a_schedule_with_a_step_that_never_ends_is_undecided_and_the_search_goes_on(lab: Lab) -> None:
    """With the reason, in each way to search; and nobody then says that all is well."""
    case = lab.case(specfile.parse(ENDLESS, name="endless"))
    reason = "session B, step B2 (select pg_slee ... null as slept from t): no answer within 0.5 s, and it waits for no"
    for how in ({"reduction": False}, {}, {"samples": 20}):
        found = case.explore(step_seconds=0.5, **how)  # type: ignore[arg-type]
        assert (found.kind, found.anomalous, found.complete) == ("undecided", 0, "samples" not in how), how
        assert list(found.undecided_because) == [f"{reason} session of this schedule; cancelled"]
        assert found.run.undecided == sum(found.undecided_because.values()) >= 1
        assert "a step that never ends  [B A B]" in str(found)
        assert str(found).endswith("none of these was anomalous, which is no proof")
    whole = case.explore(step_seconds=0.5, reduction=False)
    assert (whole.schedules, whole.run.undecided, whole.represents) == (4, 1, None)
    assert whole.to_dict()["undecided_because"] == whole.undecided_because
    whole.merge(whole)
    assert list(whole.undecided_because.values()) == [2]  # as what other processes have found is added
    assert lab.engine.runner.step_seconds == 30
    assert case.at("repeatable read").explore(step_seconds=0.5).kind == "prevented"


def test_steps_that_say_and_leave_nothing_are_not_taken_for_endless_ones(lab: Lab) -> None:
    """Empty ones, and those that hold a comment."""
    for sql in ("", "-- later\n"):
        found = lab.case(specfile.parse(f"session A step A1 {{ {sql} }}", name="empty")).explore()
        assert (found.kind, [one.text() for one in found.outcomes.values()]) == ("prevented", ["nothing"])


def test_a_serial_order_that_never_ends_judges_nothing(lab: Lab) -> None:
    """It is said which, and on what it stands still."""
    spec = specfile.parse(ENDLESS.replace("current_setting('seen.n')::int", "0"), name="endless")
    found = lab.case(spec).explore(step_seconds=0.5)
    assert found.kind == "undecided"
    assert any(one.startswith("one of the serial orders, 'A B B', does not end") for one in found.undecided_because)


def test_a_counterexample_shows_itself_and_can_be_run_again(lab: Lab) -> None:
    """As that of functions does; it is a schedule in words, also for JSON and for another process."""
    case = lab.case("lost-update")
    for found in (case.explore().counterexample, case.explore(samples=14).counterexample, case.shrink()):
        assert isinstance(found, Counterexample)
        assert found == found.transcript.schedule
        assert found.verdict.anomalous
        assert found.replay() == found.transcript == found.verdict.transcript
        assert found._repr_mimebundle_().keys() == found.transcript._repr_mimebundle_().keys()
        assert pickle.loads(pickle.dumps(found)) == str(found)
        assert json.loads(json.dumps(found)) == found


NAMED = {
    "lost-update": ("lost update: notebooks/03", "at repeatable read this schedule is refused: 40001"),
    "write-skew": ("write skew: notebooks/08", "at serializable this schedule is refused: 40001"),
    "double-booking": ("write skew: notebooks/08", "at serializable this schedule is refused: 40001"),
    "non-repeatable-read": ("non-repeatable read: notebooks/01", "at repeatable read this schedule is right"),
    "phantom": ("phantom: notebooks/02", "at repeatable read this schedule is right"),
    "read-skew": ("read skew: notebooks/06", "at repeatable read this schedule is right"),
}


@pytest.mark.parametrize("name", NAMED)
def test_an_anomaly_is_named_with_its_remedies_and_the_level_that_refuses_it(lab: Lab, name: str) -> None:
    """At the levels at which it occurs; where all is well nothing is said."""
    found = lab.case(name).explore()
    assert len(found.explanation) == 2
    assert all(one.startswith(start) for one, start in zip(found.explanation, NAMED[name], strict=True))
    assert found.explanation == tuple(str(found).splitlines()[-2:]) == tuple(found.to_dict()["explanation"])
    for page in re.findall(r"[0-9]{2}-[a-z-]+\.ipynb", found.explanation[0]):
        assert (ROOT / "notebooks" / page).exists()
    assert lab.case(name, "serializable").explore().explanation == ()


def test_what_is_not_known_of_an_anomaly_is_not_said(lab: Lab) -> None:
    """No name for a cycle of three, none for what is not understood; no level where the steps name theirs."""
    assert not any("skew" in one for one in lab.case("read-only-anomaly").explore().explanation)
    named = LOST.format(begin="begin isolation level read committed")
    assert len(lab.case(specfile.parse(named)).explore().explanation) == 1
    elsewhere = LOST.format(begin="begin").replace("set n = 1 where id = 1", "set n = 1")
    assert not any("lost update" in one for one in lab.case(specfile.parse(elsewhere)).explore().explanation)


LOST = """
    setup {{ create table t (id int, n int); insert into t values (1, 0), (2, 0); }}
    teardown {{ drop table t; }}
    session A
    step A1 {{ {begin}; select n from t where id = 1; }}
    step A2 {{ update t set n = 1 where id = 1; }}
    step A3 {{ commit; }}
    session B
    step B1 {{ {begin}; select n from t where id = 1; }}
    step B2 {{ update t set n = 2 where id = 1; }}
    step B3 {{ commit; }}
"""


def test_more_sessions_are_copies_of_the_last(lab: Lab) -> None:
    """Named by the next letter; fewer are the first of them."""
    three = lab.case("lost-update").with_sessions(3).spec
    assert three.session_names == ("A", "B", "C")
    assert [step.name for step in three.sessions[2].steps] == ["C_read", "C_write", "C_commit"]
    assert three.sessions[2].steps[1].sql == three.sessions[1].steps[1].sql
    assert lab.case("phantom").with_sessions(1).spec.session_names == ("A",)
    for number in (0, -1, 99):
        with pytest.raises(BadInput, match="choose 1 to 26"):
            lab.case("phantom").with_sessions(number)


def test_a_case_that_is_not_its_schedules_raises_an_alarm(lab: Lab) -> None:
    """Something that no setup sets back decides whether B waits: no verdict, but an error that names the way there."""
    spec = specfile.parse("""
        setup { create table t (n int); insert into t values (1), (2); }
        session A step a1 { begin; update t set n = n where n = 1; } step a2 { commit; }
        session B step b1 { update t set n = n where n = (select n from public.dice); } step b2 { select 1 as one; }
    """)
    with lab.connect() as connection:
        connection.execute("create table public.dice (n int); insert into public.dice values (2)")

        def throw(state: Exploration) -> None:
            if state.schedules == 2:  # A A B B and A B A B have been run; the next one begins with A B again
                connection.execute("update public.dice set n = 1")

        try:
            with pytest.raises(Nondeterminism, match="after 'A B' first A, B could move, and now A: "):
                lab.case(spec).explore(reduction=False, on_progress=throw)
        finally:
            connection.execute("drop table public.dice")


@pytest.mark.server
def test_the_command_gives_json(tmp_path: Path) -> None:
    """With the fields that are promised, for a file as for a case."""
    path = tmp_path / "mine.spec"
    path.write_text("session A step a { select 1 as one; } session B step b { select 2 as two; }")
    program = Path(sys.executable).with_name("zephyr-lab")
    for case, schedules in ((str(path), 2), ("phantom", 10)):
        done = subprocess.run(
            [program, "explore", case, "--no-reduction", "--format", "json"],
            capture_output=True,
            text=True,
            env=os.environ,
            timeout=60,
        )
        found = json.loads(done.stdout)
        assert (found["schedules"], found["complete"]) == (schedules, True)
        assert set(found) >= {
            "anomalous",
            "aborted",
            "false_positives",
            "blocked_steps",
            "deadlocks",
            "outcomes",
            "seconds",
        }
        assert set(found["outcomes"][0]) >= {"serial", "count", "example"}


@pytest.mark.thorough_but("how0")
@pytest.mark.parametrize("how", [{"reduction": False}, {}, {"samples": 40, "seed": 5}, {"samples": 40, "depth": 3}])
def test_several_processes_find_what_one_finds(lab: Lab, how: dict[str, int]) -> None:
    """The same counts, outcomes and examples, in the same order; their servers are gone with them."""
    case = lab.case("read-only-anomaly", "repeatable read")
    one, two = case.explore(**how).to_dict(), case.explore(**how, jobs=2).to_dict()  # type: ignore[arg-type]
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_an_invariant_is_reported_beside_the_verdict(lab: Lab) -> None:
    """In SQL, asked of the rows that are left, or as a function of the transcript; it decides nothing."""
    case = lab.case("double-booking")
    by_sql = case.explore(reduction=False, invariant="select sum(price) <= 100000 from orders")
    assert (by_sql.run.violated, by_sql.anomalous, by_sql.schedules) == (18, 18, 20)
    assert "the invariant is violated in 18 of 20" in str(by_sql)
    by_function = case.explore(
        invariant=lambda transcript: sum(row[-1] for row in transcript.final["orders"].rows) <= 100_000
    )
    assert by_function.stands_for == by_sql.run
    assert lab.case("lost-update").explore(invariant="select booked < 1 from slots").run.violated == 6
    with pytest.raises(BadInput, match="one row of one boolean"):
        case.explore(invariant="select 1")


def test_the_counterexample_has_as_few_switches_as_any(lab: Lab) -> None:
    """Of the twelve schedules that lose an update, two have two switches; with one there are the serial ones only."""
    case = lab.case("lost-update")
    assert case.shrink("A B A B A B") == case.explore().counterexample == "A B B B A A"
    assert case.verdict("A B B B A A").anomalous
    with pytest.raises(BadInput, match="not anomalous at read committed: there is nothing to shrink"):
        case.shrink("A A A B B B")


def test_pct_finds_what_needs_few_switches(lab: Lab) -> None:
    """A lost update among four sessions, in a handful of schedules."""
    found = lab.case("lost-update").with_sessions(4).explore(samples=10, depth=2, seed=1, shrink=False)
    assert found.anomalous > 0
    with pytest.raises(BadInput, match="how many samples"):
        lab.case("lost-update").explore(depth=2)
