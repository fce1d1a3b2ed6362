"""Two terminals: statements sent by hand, and the magics that do it in a notebook."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ScheduleError, ServerLost, SetupFailed, StepTimeout
from zephyr_lab.schedule.terminals import Terminals

SLOTS = "create table slots (slot text primary key, booked int); insert into slots values ('18:00', 90000)"


@pytest.fixture
def two(lab: Lab) -> Iterator[Terminals]:
    """Terminals on a table of one slot."""
    terminals = lab.terminals(SLOTS)
    yield terminals
    terminals.close()


def test_whoever_waits_says_so_and_resumes_in_the_answer_that_ends_the_wait(two: Terminals) -> None:
    """As in two psql windows; what is behind the waiting statement is not sent, and told."""
    assert str(two.send("A", "begin; update slots set booked = 95000;")).splitlines()[-1].endswith("1 row")
    waits = two.send("B", "update slots set booked = booked + 5000; select 1;")
    assert str(waits) == "B  waits for A (transactionid, slots)\nnot sent, for B waits: select 1"
    assert str(two.send("A", "commit")).splitlines() == [
        "A  commit                                   ok",
        "B  update slots set booked = booked + 5000  resumes: 1 row",
    ]
    assert two.tables() == "slots: slot=18:00, booked=100000"


def test_a_transcript_on_the_way_tells_what_is_committed_and_ends_nothing(two: Terminals) -> None:
    """A table that a session has locked against reading is left out, within the time of a glance."""
    two.send("A", "begin; update slots set booked = 1")
    two.send("B", "update slots set booked = 2")
    first = two.transcript()
    assert first.summary() == ["ends:   A unfinished, B waiting", "final:  slots: slot=18:00, booked=90000"]
    two.send("A", "rollback; begin; lock table slots")
    assert two.transcript().final == {}
    two.send("A", "rollback")
    assert two.transcript().summary()[1] == "final:  slots: slot=18:00, booked=2"


def test_the_same_statements_give_the_same_bytes(lab: Lab) -> None:
    """Of answers and transcript, a deadlock and a third session included; the victim is who closes the cycle."""

    def once() -> str:
        two = lab.terminals(SLOTS.replace("('18:00', 90000)", "('a', 0), ('b', 0)"))
        said = [two.send("Zoe", "select * from slots")]
        said += [two.send(name, f"begin; update slots set booked = 1 where slot = '{name.lower()}'") for name in "AB"]
        said += [two.send("A", "update slots set booked = 2 where slot = 'b'")]
        said += [two.send("B", "update slots set booked = 2 where slot = 'a'"), two.send("A", "commit")]
        return "\n".join([*map(str, said), str(two.transcript())])

    first = once()
    assert "B  update slots set booked = 2 where slot = 'a'  40P01 deadlock detected" in first
    assert "A  update slots set booked = 2 where slot = 'b'  resumes: 1 row" in first
    assert [once() for _ in range(4)] == [first] * 4


def test_what_cannot_be_sent_is_refused_and_loses_nothing(two: Terminals) -> None:
    """A waiting session, no name, no SQL, an open quote, a command of psql's."""
    two.send("A", "begin; update slots set booked = 1")
    two.send("B", "update slots set booked = 2")
    with pytest.raises(ScheduleError, match=r"session B waits for A \(transactionid, slots\).*nothing was sent.*Let A"):
        two.send("B", "commit")
    for session, sql, message in [
        ("", "select 1", "no name"),
        ("A B", "select 1", "no name"),
        ("A", " ; -- nothing\n", "nothing to send"),
        ("A", "select 'x", "not closed"),
        ("A", r"\d slots", "psql"),
    ]:
        with pytest.raises(BadInput, match=message):
            two.send(session, sql)
    assert two.transcript().schedule == "A A B"


def test_statements_are_cut_as_psql_cuts_them(two: Terminals) -> None:
    """Not inside quotes, comments, parentheses and bodies; each is a message, so each commits on its own."""
    sql = "select ';' as x; /* ; */ select $$a;b$$; -- ;\ncreate rule r as on delete to slots do (select 1; select 2);"
    assert len(two.send("A", sql).events) == 3
    body = "create function f() returns int language sql begin atomic select 1; select 2; end;"
    assert len(two.send("A", body).events) == 1
    two.send("A", "update slots set booked = 7; select 1/0")
    assert two.tables() == "slots: slot=18:00, booked=7"


def test_another_schedule_of_the_lab_ends_the_sessions(two: Terminals, lab: Lab) -> None:
    """Also those that are in a transaction or wait; they say so."""
    two.send("A", "begin; update slots set booked = 1")
    two.send("B", "update slots set booked = 2")
    assert lab.case("lost-update").verdict().anomalous
    with pytest.raises(ScheduleError, match="another schedule has run"):
        two.send("A", "commit")


@pytest.mark.server
def test_a_statement_that_goes_on_for_too_long_is_cancelled_and_the_sessions_stay() -> None:
    """By the time given to a step, or by an interrupt; the transcript has its 57014."""
    with Lab(step_seconds=0.5) as own:
        two = own.terminals(SLOTS)
        two.send("A", "begin")
        with pytest.raises(StepTimeout, match=r"session B: no answer within 0.5 s.*cancelled"):
            two.send("B", "select pg_sleep(60)")
        own.engine.runner.step_seconds = 30
        threading.Thread(target=_interrupt_when_asleep, args=(own,)).start()
        with pytest.raises(KeyboardInterrupt):
            two.send("B", "select pg_sleep(50)")
        assert str(two.send("B", "select 1")) == "B  -> 1"
        assert str(two.send("A", "commit")) == "A  ok"
        assert str(two.transcript()).count("57014 query canceled") == 2


def _interrupt_when_asleep(lab: Lab) -> None:
    with lab.connect() as connection:
        asleep = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and query like '%50%'"
        while not connection.execute(asleep).fetchone():
            time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InteractiveShell]:
    """An IPython that has loaded the extension."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    for name in ("ZEPHYR_LAB_PG_DSN", "ZEPHYR_LAB_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    shell = InteractiveShell()
    run(shell, "%load_ext zephyr_lab")
    yield shell
    run(shell, "%unload_ext zephyr_lab")


def run(shell: InteractiveShell, cell: str) -> ExecutionResult:
    return shell.run_cell(cell, store_history=False)


@pytest.mark.server
def test_cells_that_begin_with_session(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """Setup, two sessions, a transcript, a new start at another level; errors are told in a line."""
    run(shell, f"%%setup\n{SLOTS}")
    assert capsys.readouterr().out == "slots: slot=18:00, booked=90000\n"
    run(shell, "%%session A\nbegin; update slots set booked = 1")
    assert str(run(shell, "%%session B\nselect * from slots").result) == "B  -> 18:00 | 90000"
    shown = run(shell, "%%session B\ninsert into slots values ('<b>', null) returning *").result._repr_mimebundle_()
    assert "<th" not in shown["text/plain"]
    assert "&lt;b&gt;</td>" in shown["text/html"]
    assert "<i>null</i>" in shown["text/html"]
    assert run(shell, "%transcript").result.schedule == "A A B B"
    with pytest.raises(SetupFailed):
        run(shell, "%%setup\nselct 1").raise_error()
    capsys.readouterr()
    run(shell, "%reset_sessions serializable")
    assert capsys.readouterr().out == "no sessions, serializable; slots: slot=18:00, booked=90000\n"
    assert str(run(shell, "%%session A\nshow transaction_isolation").result) == "A  -> serializable"
    with pytest.raises(BadInput):
        run(shell, "%reset_sessions seriously").raise_error()
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.server
def test_a_server_that_is_gone_is_said_and_the_next_start_has_a_new_one(shell: InteractiveShell) -> None:
    """Nothing hangs, and the setup is kept."""
    run(shell, f"%%setup\n{SLOTS}")
    run(shell, "%%session A\nbegin; update slots set booked = 1")
    lab = shell.magics_manager.registry["SessionMagics"]._lab
    with lab.connect() as connection:
        postmaster = connection.execute("select pg_read_file('postmaster.pid')").fetchone()[0].split()[0]
    os.kill(int(postmaster), signal.SIGKILL)
    while run(shell, "%transcript").success:  # until the kernel has closed the sockets
        pass
    with pytest.raises(ServerLost, match=r"%reset_sessions starts a new one"):
        run(shell, "%transcript").raise_error()
    with pytest.raises(ServerLost):
        run(shell, "%%session B\nselect 1").raise_error()
    run(shell, "%reset_sessions")
    assert str(run(shell, "%%session B\nselect booked from slots").result) == "B  -> 90000"
