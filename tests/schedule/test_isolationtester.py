"""What `zephyr-lab spec` prints, in examples small enough to check by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from math import comb
from pathlib import Path

import pytest

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ServerLost, SetupFailed, StepTimeout
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.isolationtester import interleavings

SPEC = """
setup { create table t (name text, n int); insert into t values ('a', 1), ('long', -20), (null, null); }
teardown { drop table t; }
session s1
setup { select 'ready' as s1; }
step read { select * from t order by n; }
step begin1 { begin; update t set n = n + 1 where name = 'a'; }
step end1 { commit; }
session s2
step write {
  update t set n = 7 where name = 'a'; }
step fail { select 1 / 0; }
step notice { do $$ begin raise notice 'seen' using detail = 'twice'; end $$; }
permutation begin1 write end1 read
permutation write(*) fail notice
"""

EXPECTED = """\
Parsed test spec with 2 sessions

starting permutation: begin1 write end1 read
s1   
-----
ready
(1 row)

step begin1: begin; update t set n = n + 1 where name = 'a';
step write: 
  update t set n = 7 where name = 'a'; <waiting ...>
step end1: commit;
step write: <... completed>
step read: select * from t order by n;
name|  n
----+---
long|-20
a   |  7
    |   
(3 rows)


starting permutation: write fail notice
s1   
-----
ready
(1 row)

step write: 
  update t set n = 7 where name = 'a'; <waiting ...>
step write: <... completed>
step fail: select 1 / 0;
ERROR:  division by zero
s2: NOTICE:  seen
DETAIL:  twice
step notice: do $$ begin raise notice 'seen' using detail = 'twice'; end $$;
"""


def printed(lab: Lab, tmp_path: Path, text: str) -> str:
    path = tmp_path / "x.spec"
    path.write_text(text)
    said: list[str] = []
    lab.isolationtester(path, said.append)
    return "".join(said)


def test_it_prints_what_isolationtester_prints(lab: Lab, tmp_path: Path) -> None:
    """Tables aligned by PQprint's rules, waits, marks, errors, notices."""
    assert printed(lab, tmp_path, SPEC) == EXPECTED


def test_a_file_without_permutations_means_all_interleavings(lab: Lab, tmp_path: Path) -> None:
    """First session first; their number is the multinomial coefficient."""
    spec = specfile.parse("""
        session a step a1 { select 1; } step a2 { select 2; }
        session b step b1 { select 3; } step b2 { select 4; }
    """)
    orders = [" ".join(one.step for one in order) for order in interleavings(spec.sessions)]
    assert orders == [
        "a1 a2 b1 b2",
        "a1 b1 a2 b2",
        "a1 b1 b2 a2",
        "b1 a1 a2 b2",
        "b1 a1 b2 a2",
        "b1 b2 a1 a2",
    ]
    assert len(orders) == comb(4, 2)


def test_notifications_name_their_sender(lab: Lab, tmp_path: Path) -> None:
    """By session."""
    text = """
        session s1 step listen { listen c; } step look { select 1 as one; }
        session s2 step tell { notify c, 'hello'; }
        permutation listen tell look
    """
    assert printed(lab, tmp_path, text).endswith('s1: NOTIFY "c" with payload "hello" from s2\n')


@pytest.mark.server
def test_steps_that_wait_for_each_other_for_ever_end_in_an_error(tmp_path: Path) -> None:
    """And nothing hangs; a setup that fails says so."""
    path = tmp_path / "x.spec"
    path.write_text("""
        session s1 step a { select 1; }
        session s2 step b { select 2; }
        permutation a(*, b) b(a)
    """)
    with Lab(step_seconds=1) as lab:
        with pytest.raises(StepTimeout, match="mutually-blocking"):
            lab.isolationtester(path, lambda text: None)
        path.write_text("setup { create tabel; } session s1 step a { select 1; }")
        with pytest.raises(SetupFailed, match=r"^setup failed: ERROR:  syntax error"):
            lab.isolationtester(path, lambda text: None)


LEFT_OPEN = """
    setup { create table t (n int); insert into t values (1); }
    teardown { drop table t; }
    session s1 step hold { begin; update t set n = 2; }
"""


def test_a_block_that_never_ends_names_the_step_that_left_a_transaction_open(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of teardown; one of setup is cancelled as well, and so is one of a session."""
    path, said = tmp_path / "x.spec", []
    path.write_text(LEFT_OPEN)
    monkeypatch.setattr(lab.engine.runner, "step_seconds", 0.3)
    with pytest.raises(
        StepTimeout, match=r"teardown failed: no answer .*the transaction of session s1 after its step hold; end it"
    ):
        lab.isolationtester(path, said.append)
    assert "".join(said).endswith("step hold: begin; update t set n = 2;\n")
    path.write_text("setup { select pg_sleep(600); } session s1 step a { select 1; }")
    with pytest.raises(StepTimeout, match=r"^setup failed: no answer within 0.3 s; cancelled$"):
        lab.isolationtester(path, said.append)
    path.write_text("session s1 step a { select 1; } teardown { select pg_sleep(600); }")
    with pytest.raises(StepTimeout, match=r"^teardown of session s1 failed: no answer within 0.3 s; cancelled$"):
        lab.isolationtester(path, said.append)


@pytest.mark.server
def test_one_interrupt_ends_a_teardown_that_waits(tmp_path: Path) -> None:
    """As Ctrl-C does."""
    path = tmp_path / "x.spec"
    path.write_text(LEFT_OPEN)
    program = Path(sys.executable).with_name("zephyr-lab")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([program, "spec", path], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            while not process.stdout.readline().startswith("step hold"):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) != 0
        finally:
            process.kill()


def test_extensions_are_there_for_the_steps(lab: Lab, tmp_path: Path) -> None:
    """Those that are named; one that the server does not have is refused, and so are all on a server of yours."""
    path, said = tmp_path / "x.spec", []
    path.write_text("""
        setup { create table t (id int); insert into t values (1); }
        teardown { drop table t; }
        session s1
        setup { begin; }
        step lock { select from t for update; }
        step end { commit; }
        session s2 step look { select modes from pgrowlocks('t'); }
        permutation lock look end
    """)
    lab.isolationtester(path, said.append, extensions=["pgrowlocks", "btree_gist"])
    assert '{"For Update"}\n(1 row)\n' in "".join(said)
    with pytest.raises(BadInput, match="the extension 'nosuch' cannot be made on PostgreSQL"):
        lab.isolationtester(path, said.append, extensions=["nosuch"])
    with (
        Lab(pg_dsn=lab.conninfo()) as theirs,
        pytest.raises(BadInput, match=r"extensions \(pgrowlocks\) are made on a server of the lab's own only: leave"),
    ):
        theirs.isolationtester(path, said.append, extensions=["pgrowlocks"])


def test_what_it_says_beside_its_output_and_goes_on_after_is_printed_too(lab: Lab, tmp_path: Path) -> None:
    """Steps that no permutation takes, and blocks of teardown that fail, one without a statement among them."""
    text = """
        teardown { drop table nosuch; }
        session s1
        setup { select 1 as up; }
        step b { select 2 as b; }
        step B { select 3; }
        step a { select 4; }
        teardown { }
        permutation b
    """
    assert printed(lab, tmp_path, text) == (
        "unused step name: B\nunused step name: a\nParsed test spec with 1 sessions\n\nstarting permutation: b\n"
        "up\n--\n 1\n(1 row)\n\nstep b: select 2 as b;\nb\n-\n2\n(1 row)\n\n"
        'teardown of session s1 failed: teardown failed: ERROR:  table "nosuch" does not exist\n'
    )


def test_messages_are_libpqs_own_words(lab: Lab, tmp_path: Path) -> None:
    """A notice with its place in the SQL, an error without a word in it."""
    text = """
        session s1
        setup { set standard_conforming_strings = off; }
        step place { select 'a\\\\b' as e; }
        step mute { do $$ begin raise exception ''; end $$; }
        permutation place mute
    """
    said = printed(lab, tmp_path, text)
    place = "LINE 1: select 'a\\\\b' as e;\n               ^\n"
    assert f"s1: WARNING:  nonstandard use of \\\\ in a string literal\n{place}HINT: " in said
    assert said.endswith("end $$;\nERROR:  \n")


def test_a_step_may_end_its_own_session(lab: Lab, tmp_path: Path) -> None:
    """Libpq's words come last, with the empty line behind them; the next step of that session is the last one."""
    text = """
        session s1
        step die { select pg_terminate_backend(pg_backend_pid()); }
        teardown { select 1; }
        session s2
        step live { select 'on' as live; }
        permutation die live
        permutation live die
    """
    path, said = tmp_path / "x.spec", []
    path.write_text(text)
    with pytest.raises(ServerLost, match=r"failed to send query for step die: no connection to the server$"):
        lab.isolationtester(path, said.append)
    live = "step live: select 'on' as live;\nlive\n----\non  \n(1 row)\n\n"
    assert "".join(said).endswith(
        "FATAL:  terminating connection due to administrator command\nserver closed the connection unexpectedly\n"
        "\tThis probably means the server terminated abnormally\n\tbefore or while processing the request.\n\n"
        f"{live}teardown of session s1 failed: no connection to the server\n"
        f"\nstarting permutation: live die\n{live}"
        "failed to send query for step die: no connection to the server\n\n"
    )


def test_a_wait_that_a_timeout_soon_ends_is_none(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """isolationtester looks after ten milliseconds, and a step that is over by then has not waited for it.

    Here it looks later, and the step takes longer: who looks at once sees it wait, and who looks in time never does.
    """
    monkeypatch.setattr("zephyr_lab.schedule.isolationtester.TICK", 30)
    text = """
        session s1 step lock { select pg_advisory_lock(1) is null as no; }
        session s2 step try { set lock_timeout = '200ms'; select pg_advisory_lock(1); }
        permutation lock try
    """
    assert printed(lab, tmp_path, text).endswith(
        "\nstep try: set lock_timeout = '200ms'; select pg_advisory_lock(1);\n"
        "ERROR:  canceling statement due to lock timeout\n"
    )


def test_a_wait_that_was_cancelled_is_over_before_the_next_step(lab: Lab, tmp_path: Path) -> None:
    """Although whoever cancels it may have been answered before the cancelled one has heard of it."""
    text = """
        session s1
        step lock { select pg_advisory_lock(1) is null as no; }
        step cancel {
            select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'isolation/x/s2'; }
        step unlock { select pg_advisory_unlock_all() is null as no; }
        session s2 step try { select pg_advisory_lock(1); }
        permutation lock try cancel unlock
    """
    after = printed(lab, tmp_path, text).partition("step cancel: ")[2]
    assert "(1 row)\n\nstep try: <... completed>\nERROR:  canceling statement due to user request\nstep unlock" in after


def test_nobody_else_is_connected(lab: Lab, tmp_path: Path) -> None:
    """The control connection does the watching, as a spec that lists the connections can see."""
    text = """
        session s1
        step look {
            select application_name from pg_stat_activity where application_name like 'isolation/x/%' order by 1; }
    """
    assert printed(lab, tmp_path, text).endswith(
        "isolation/x/control connection\nisolation/x/s1                \n(2 rows)\n\n"
    )


def test_a_step_that_copies_from_the_client_ends_the_run(lab: Lab, tmp_path: Path) -> None:
    """There is nothing to be copied; isolationtester itself would say so for ever."""
    path, said = tmp_path / "x.spec", []
    path.write_text("session s1 step copy { copy (select 1) to stdout; }")
    with pytest.raises(StepTimeout, match="cannot copy"):
        lab.isolationtester(path, said.append)
    assert said[-1] == "unexpected result status: PGRES_COPY_OUT\n"


@pytest.mark.server
def test_the_command_prints_it(tmp_path: Path) -> None:
    """To standard output, and nothing else."""
    path = tmp_path / "x.spec"
    path.write_text(SPEC)
    program = Path(sys.executable).with_name("zephyr-lab")
    done = subprocess.run([program, "spec", path], capture_output=True, text=True, env=os.environ, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == (EXPECTED, "", 0)
