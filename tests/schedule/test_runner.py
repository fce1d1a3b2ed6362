"""The engine on a real server: what is recorded, who loses a deadlock, and that nothing hangs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from tests.conftest import slots_spec
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ScheduleError, SetupFailed, StepTimeout
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.settling import Graph, Settler, Watched
from zephyr_lab.schedule.transcript import End, EventKind

CROSSING = slots_spec("""
    session A  step a1 { begin; update slots set booked = 1 where slot = 'a'; }
               step a2 { update slots set booked = 1 where slot = 'b'; }
               step a3 { commit; }
    session B  step b1 { begin; update slots set booked = 2 where slot = 'b'; }
               step b2 { update slots set booked = 2 where slot = 'a'; }
               step b3 { commit; }
""")

RING = slots_spec("""
    session A  step a1 { begin; update slots set booked = 1 where slot = 'a'; }
               step a2 { update slots set booked = 1 where slot = 'b'; }
    session B  step b1 { begin; update slots set booked = 2 where slot = 'b'; }
               step b2 { update slots set booked = 2 where slot = 'c'; }
    session C  step c1 { begin; update slots set booked = 3 where slot = 'c'; }
               step c2 { update slots set booked = 3 where slot = 'a'; }
""")

# Both readers wait for A; its commit wakes the two at once.
TWO_WAITERS = slots_spec("""
    session A  step a1 { begin; update slots set booked = 1; }
               step a2 { commit; }
    session B  step b1 { select booked from slots where slot = 'a' for share; }
               step b2 { select 1 as done; }
    session C  step c1 { select booked from slots where slot = 'a' for share; }
               step c2 { select 1 as done; }
""")


def texts(lab: Lab, spec: Spec | str, schedule: str, times: int, isolation: str = "read committed") -> set[str]:
    """The different transcripts of a schedule that is run `times` times."""
    case = lab.case(spec, isolation)
    return {str(case.run(schedule)) for _ in range(times)}


class Hasty(Settler):
    """Takes the sessions that a step has woken for waiting ones still."""

    def _moving(self, busy: Sequence[Watched], graph: Graph) -> list[str]:
        return [name for name in super()._moving(busy, graph) if name not in self.waits]


class Broken(Hasty):
    """A runner broken on purpose: it does not wait for the sessions that a step has woken."""

    def _has_gone_on(self) -> bool:
        return False


@pytest.mark.parametrize("isolation", list(IsolationLevel))
def test_a_schedule_gives_the_same_transcript_100_times_of_100(lab: Lab, isolation: str) -> None:
    """Byte for byte, with a wait and what ends it."""
    assert len(texts(lab, "lost-update", "A B A B A B", 100, isolation)) == 1


def test_two_sessions_woken_at_once_make_one_transcript(lab: Lab) -> None:
    """They are reported in the order in which they had been sent, whoever answers first."""
    for order in ("A B C A", "A C B A"):
        seen = texts(lab, TWO_WAITERS, order, 100)
        assert len(seen) == 1
        transcript = lab.case(TWO_WAITERS).run(order)
        assert [event.session for event in transcript.events if event.resumed] == order.split()[1:3]


def test_two_sessions_woken_at_once_do_not_race_for_a_row(lab: Lab) -> None:
    """Both wait behind a table lock, then both want the same row: the one that was sent first gets it, every time."""
    spec = slots_spec("""
        session A  step a1 { begin; lock table slots; }  step a2 { commit; }
        session B  step b1 { update slots set booked = booked * 2 + 1; }
        session C  step c1 { update slots set booked = booked * 3 + 1; }
    """)
    for order, booked in (("A B C A", 4), ("A C B A", 3)):
        seen = {str(lab.case(spec).run(order)) for _ in range(50)}
        assert len(seen) == 1
        assert lab.case(spec).run(order).final["slots"].rows[0] == ("a", booked)


def test_who_wakes_a_session_and_goes_on_itself_comes_first(lab: Lab) -> None:
    """A's step commits, which wakes B, and then wants what B is about to take."""
    spec = slots_spec("""
        session A  step a1 { begin; update slots set booked = 1 where slot = 'a'; }
                   step a2 { commit; begin; update slots set booked = booked * 2 + 1 where slot = 'b'; }
                   step a3 { commit; }
        session B  step b1 { begin; update slots set booked = 2 where slot = 'a';
                             update slots set booked = booked * 3 + 1 where slot = 'b'; }
                   step b2 { commit; }
    """)
    seen = {str(lab.case(spec).run("A B A A B")) for _ in range(50)}
    assert len(seen) == 1
    assert lab.case(spec).run("A B A A B").final["slots"].rows[1] == ("b", 4)


def test_a_deadlock_that_a_woken_session_closes_ends_the_same_way_every_time(lab: Lab) -> None:
    """B waits for A and C for B; A's commit lets B go on, into the row that C holds."""
    spec = slots_spec("""
        session A  step a1 { begin; update slots set booked = 1 where slot = 'a'; }  step a2 { commit; }
        session B  step b1 { begin; update slots set booked = 2 where slot = 'b'; }
                   step b2 { update slots set booked = 2 where slot = 'a';
                             update slots set booked = 2 where slot = 'c'; }
        session C  step c1 { begin; update slots set booked = 3 where slot = 'c'; }
                   step c2 { update slots set booked = 3 where slot = 'b'; }
    """)
    seen = {tuple(lab.case(spec).run("A B C B C A").failures().items()) for _ in range(2)}
    assert seen in ({(("B", "40P01"),)}, {(("C", "40P01"),)})


def test_a_runner_that_does_not_wait_for_woken_sessions_is_found_out(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two tests above can fail: with the engine broken, the same schedule makes another transcript, or none."""
    # What is left to do after the wait takes long enough for a runner that does not look to miss it, on any machine.
    spec = slots_spec("""
        session A  step a1 { begin; update slots set booked = 1; }
                   step a2 { commit; }
        session B  step b1 { select booked from slots where slot = 'a' for share; select pg_sleep(0.3); }
                   step b2 { select 1 as done; }
    """)
    right = texts(lab, spec, "A B A B", 3)
    assert len(right) == 1
    monkeypatch.setattr("zephyr_lab.schedule.execution.Settler", Hasty)
    assert texts(lab, spec, "A B A B", 3) == right  # a wait that is over when it is described is followed to its end
    monkeypatch.setattr("zephyr_lab.schedule.execution.Settler", Broken)
    with pytest.raises((AssertionError, ScheduleError)):
        assert texts(lab, spec, "A B A B", 3) == right


def test_the_session_that_closes_the_cycle_is_the_victim(lab: Lab) -> None:
    """Whichever that is, every time, and at once although the server would wait for a second."""
    began = time.monotonic()
    for schedule, victim, other in (("A B A B A", "B", "A"), ("A B B A B", "A", "B")):
        seen = {tuple(lab.case(CROSSING).run(schedule).failures().items()) for _ in range(30)}
        assert seen == {((victim, "40P01"),)}
        assert lab.case(CROSSING).run(schedule).ends[other] is End.COMMITTED
    assert time.monotonic() - began < 30


def test_in_a_ring_of_three_the_last_one_is_the_victim(lab: Lab) -> None:
    """Two sessions wait in a chain, the first for the second; the third closes it."""
    for schedule, victim in (("A B C A B C", "C"), ("A B C B A C", "C"), ("A B C C A B", "B"), ("A B C B C A", "A")):
        seen = {tuple(lab.case(RING).run(schedule).failures().items()) for _ in range(20)}
        assert seen == {((victim, "40P01"),)}, schedule


def test_a_victim_can_be_chosen(lab: Lab) -> None:
    """A began to wait first; without a choice B, who closes the cycle, is aborted."""
    transcript = lab.case(CROSSING).run("A B A B B", victim="A")
    assert transcript.failures() == {"A": "40P01"}
    assert transcript.ends == {"A": End.ABORTED, "B": End.COMMITTED}


def test_a_victim_outside_the_deadlock_is_refused(lab: Lab) -> None:
    """C takes part in the case, but not in the cycle."""
    spec = slots_spec("""
        session A  step a1 { begin; update slots set booked = 1 where slot = 'a'; }
                   step a2 { update slots set booked = 1 where slot = 'b'; }
        session B  step b1 { begin; update slots set booked = 2 where slot = 'b'; }
                   step b2 { update slots set booked = 2 where slot = 'a'; }
        session C  step c1 { select 1 as one; }
    """)
    with pytest.raises(ScheduleError, match="C cannot be the victim of this deadlock: choose one of A, B"):
        lab.case(spec).run("A B C A B", victim="C")
    with pytest.raises(ScheduleError, match="'X' is no session"):
        lab.case(spec).run("A B C A B", victim="X")


def test_a_waiting_session_is_reported_with_whom_and_what_it_waits_for(lab: Lab) -> None:
    """By session and lock type; the relation where the server knows it."""
    transcript = lab.case("lost-update").run("A B A B A B")
    (wait,) = [event.wait for event in transcript.events if event.wait]
    assert (wait.sessions, wait.lock, wait.relation) == (("A",), "transactionid", "slots")
    spec = slots_spec("""
        session A  step a1 { begin; select pg_advisory_xact_lock(7); }
                   step a2 { lock table slots; }
                   step a3 { commit; }
        session B  step b1 { select pg_advisory_xact_lock(7); }
                   step b2 { select count(*) from slots; }
    """)
    waits = [event.wait for event in lab.case(spec).run("A B A A B").events if event.wait]
    assert [(wait.sessions, wait.lock) for wait in waits] == [(("A",), "advisory")]


def test_a_relation_lock_names_its_table(lab: Lab) -> None:
    """And the wait ends with the holder's commit."""
    spec = slots_spec("""
        session A  step a1 { begin; lock table slots; }  step a2 { commit; }
        session B  step b1 { select count(*) from slots; }
    """)
    events = lab.case(spec).run("A B A").events
    assert events[1].text() == "waits for A (relation, slots)"
    assert (events[3].session, events[3].text()) == ("B", "resumes: -> 3")


def test_a_wait_for_a_safe_snapshot_is_seen(lab: Lab) -> None:
    """A READ ONLY DEFERRABLE transaction waits without a lock: it is in neither pg_locks nor pg_blocking_pids."""
    spec = slots_spec("""
        session A  step a1 { begin isolation level serializable; update slots set booked = 1 where slot = 'a'; }
                   step a2 { commit; }
        session B  step b1 { begin isolation level serializable read only deferrable; select sum(booked) from slots; }
                   step b2 { commit; }
    """)
    events = lab.case(spec).run("A B A B").events
    assert events[1].text() == "waits for A (safe snapshot)"
    assert events[3].text().startswith("resumes: -> ")


def test_a_step_for_a_waiting_session_is_refused_with_the_way_on(lab: Lab) -> None:
    """The error names the session, whom it waits for, and a command that replays what was run."""
    with pytest.raises(ScheduleError) as error:
        lab.case("lost-update").run("A B A B B")
    assert "B waits for A (transactionid, slots): step A first" in str(error.value)
    assert 'zephyr-lab run lost-update --isolation "read committed" --schedule "A B A B"' in str(error.value)
    assert lab.case("lost-update").run("A B A B A B").ends["B"] is End.COMMITTED


@pytest.mark.server
def test_a_statement_that_never_returns_is_cancelled_in_time() -> None:
    """And the lab works on afterwards."""
    spec = slots_spec("session A  step a1 { select pg_sleep(3600); }  session B  step b1 { select 1 as one; }")
    with Lab(step_seconds=0.5) as lab:
        began = time.monotonic()
        with pytest.raises(StepTimeout, match=r"session A, step a1 .* no answer within 0\.5 s"):
            lab.case(spec).run("A B")
        assert time.monotonic() - began < 10
        assert lab.case(spec).run("B").ends["B"] is End.COMMITTED


def test_a_lost_connection_is_recorded_and_the_rest_goes_on(lab: Lab) -> None:
    """Its locks are gone, so whoever waited resumes; later steps of the lost session are not sent."""
    spec = slots_spec("""
        session A  step a1 { begin; update slots set booked = 1 where slot = 'a'; }
                   step a2 { select pg_terminate_backend(pg_backend_pid()); }
                   step a3 { commit; }
        session B  step b1 { update slots set booked = booked + 2 where slot = 'a'; }
    """)
    case = lab.case(spec)
    transcript = case.run("A B A A")
    assert [event.kind for event in transcript.events] == [
        EventKind.COMPLETED,
        EventKind.WAITS,
        EventKind.LOST,
        EventKind.COMPLETED,
        EventKind.NOT_SENT,
    ]
    assert transcript.failures() == {"A": "57P01"}
    assert transcript.ends == {"A": End.LOST, "B": End.COMMITTED}
    assert transcript.final["slots"].rows[0] == ("a", 2)
    assert str(case.run("A B A A")) == str(transcript)


def test_a_schedule_that_stops_early_changes_nothing(lab: Lab) -> None:
    """Open transactions are rolled back, and who waits is not let through by that."""
    spec = slots_spec("""
        session A  step a1 { begin; update slots set booked = 1 where slot = 'a'; }  step a2 { commit; }
        session B  step b1 { update slots set booked = booked + 2 where slot = 'a'; }
        session C  step c1 { update slots set booked = booked + 4 where slot = 'a'; }
    """)
    for _ in range(20):
        transcript = lab.case(spec).run("A B C")
        assert transcript.ends == {
            "A": End.UNFINISHED,
            "B": End.WAITING,
            "C": End.WAITING,
        }
        assert transcript.final["slots"].rows[0] == ("a", 0)


def test_a_level_written_in_the_file_wins(lab: Lab) -> None:
    """What is asked for is only each session's default."""
    spec = slots_spec("""
        session A  step a1 { begin; show transaction_isolation; }  step a2 { commit; }
        session B  step b1 { begin isolation level serializable; show transaction_isolation; }  step b2 { commit; }
    """)
    transcript = lab.case(spec, "repeatable read").run("A A B B")
    assert (transcript.rows("a1"), transcript.rows("b1")) == ((("repeatable read",),), (("serializable",),))


def test_a_commit_that_was_answered_with_rollback_is_shown_as_such(lab: Lab) -> None:
    """It raises nothing, and the transaction is gone."""
    spec = slots_spec("""
        session A  step a1 { begin; insert into slots values ('a', 9); }
                   step a2 { select 1 as one; }
                   step a3 { commit; }
    """)
    transcript = lab.case(spec).run("A A A")
    assert [event.text() for event in transcript.events] == [
        "23505 unique violation (slots_pkey)",
        "25P02 in failed sql transaction",
        "ROLLBACK, and no error: the transaction had failed",
    ]
    assert transcript.ends["A"] is End.ABORTED


def test_sessions_start_afresh_in_every_run(lab: Lab) -> None:
    """Settings, temporary tables and advisory locks of one run are gone in the next."""
    spec = slots_spec("""
        session A  step a1 { set work_mem = '1MB'; create temp table t (n int); select pg_advisory_lock(1); }
        session B  step b1 { show work_mem; }
    """)
    for _ in range(2):
        assert lab.case(spec).run("A B").ends["A"] is End.COMMITTED
    other = slots_spec(
        "session A  step a1 { show work_mem; }  session B  step b1 { select pg_try_advisory_lock(1) as got; }"
    )
    transcript = lab.case(other).run("A B")
    assert transcript.rows("a1") == (("4MB",),)
    assert transcript.rows("b1") == ((True,),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("setup { create tabel x (); } session A step a { select 1; }", "spec, setup block 1: 42601"),
        ("session A setup { select 1/0; } step a { select 1; }", "setup of session A: 22012"),
        ("session A step a { select 1; } teardown { drop table nope; }", "teardown of session A: 42P01"),
        ("teardown { drop table nope; } session A step a { select 1; }", "spec, teardown: 42P01"),
    ],
)
def test_a_broken_setup_or_teardown_is_named(lab: Lab, text: str, said: str) -> None:
    """With its block, its SQLSTATE and the server's words."""
    with pytest.raises(SetupFailed, match=said):
        lab.case(specfile.parse(text)).run("A")
    assert lab.case("phantom").run().ends["A"] is End.COMMITTED


def test_copy_in_a_step_does_not_hang(lab: Lab) -> None:
    """COPY TO gives its rows; COPY FROM has no data to give and fails."""
    spec = slots_spec("""
        session A  step a1 { copy (select slot from slots order by slot) to stdout; }
                   step a2 { copy slots from stdin; }
    """)
    transcript = lab.case(spec).run("A A")
    assert transcript.rows("a1") == (("a",), ("b",), ("c",))
    assert transcript.failures() == {"A": "57014"}


def test_notices_are_recorded(lab: Lab) -> None:
    """With their severity, in the words of the one who raised them."""
    spec = slots_spec("session A  step a1 { do $$ begin raise notice 'seen'; end $$; }")
    assert lab.case(spec).run("A").events[0].text() == "ok [NOTICE: seen]"


def test_a_spec_that_sets_deadlock_timeout_chooses_its_victim_itself(lab: Lab) -> None:
    """As PostgreSQL's own deadlock specs do."""
    spec = slots_spec("""
        session A  setup { set deadlock_timeout = '10ms'; }
                   step a1 { begin; update slots set booked = 1 where slot = 'a'; }
                   step a2 { update slots set booked = 1 where slot = 'b'; }
        session B  setup { set deadlock_timeout = '100s'; }
                   step b1 { begin; update slots set booked = 2 where slot = 'b'; }
                   step b2 { update slots set booked = 2 where slot = 'a'; }
    """)
    assert lab.case(spec).run("A B B A").failures() == {"A": "40P01"}


def test_a_setup_that_leaves_a_transaction_open_does_not_reach_the_next_case(lab: Lab) -> None:
    """Nor do its settings, nor transactions that a step has prepared."""
    for text in (
        "setup { begin; create table q (n int); } session A step a { select 1 as one; }",
        "setup { set search_path = pg_catalog; } session A step a { select 1 as one; }",
        "setup { set session characteristics as transaction read only; } session A step a { select 1 as one; }",
        """setup { create table q (n int); }
           session A step a { begin; insert into q values (1); prepare transaction 'p'; }""",
    ):
        lab.case(specfile.parse(text)).run("A")
        assert lab.case("lost-update").verdict().anomalous
    with pytest.raises(SetupFailed):
        lab.case(specfile.parse("setup { begin; select 1/0; } session A step a { select 1; }")).run("A")
    assert lab.case("lost-update").verdict().anomalous


@pytest.mark.server
@pytest.mark.parametrize(
    "text",
    [
        "setup { select pg_sleep(3600); } session A step a { select 1; }",
        "session A setup { select pg_sleep(3600); } step a { select 1; }",
        "session A step a { select 1; } teardown { select pg_sleep(3600); }",
    ],
)
def test_a_setup_that_never_returns_is_cancelled_in_time(text: str) -> None:
    """As a step is."""
    with Lab(step_seconds=0.5) as lab:
        with pytest.raises(SetupFailed, match=r"no answer within 0\.5 s; cancelled"):
            lab.case(specfile.parse(text)).run("A")
        assert lab.case("phantom").run().ends["A"] is End.COMMITTED


@pytest.mark.server
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_steps_time_is_a_positive_number_of_seconds(seconds: float) -> None:
    """Otherwise nothing would bound it."""
    with pytest.raises(BadInput, match="a positive number of seconds"):
        Lab(step_seconds=seconds)
