"""Commands as sessions: a process for each schedule, or one that is kept; what goes wrong with either is said."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_kill import Outside, _becomes_empty, outside, start  # noqa: F401  # a fixture
from tests.wire.programs import SETUP
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, NothingTested, ScheduleError, ServerLost, StepTimeout
from zephyr_lab.wire.command import Command
from zephyr_lab.wire.output import Exit, data_of
from zephyr_lab.wire.programs import Programs

ONCE = """
import json, os, psycopg2
with psycopg2.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
    cursor.execute("select booked from slots where id = 1")
    booked = cursor.fetchone()[0] + 5000
    cursor.execute("update slots set booked = %s where id = 1", (booked,))
print(json.dumps({"booked": booked}))
"""
KEPT = """
import json, os, sys, psycopg2
connection = psycopg2.connect(os.environ["DATABASE_URL"])
cursor = connection.cursor()
for line in sys.stdin:
    cursor.execute("select booked from slots where id = 1")
    booked = cursor.fetchone()[0] + json.loads(line)["amount"]
    cursor.execute("update slots set booked = %s where id = 1", (booked,))
    connection.commit()
    print(json.dumps({"booked": booked}), flush=True)
"""
psql = pytest.mark.skipif(shutil.which("psql") is None, reason="no psql here (Debian: postgresql-client)")


def python(lab: Lab, program: str, **options: Any) -> Command:
    return lab.command([sys.executable, "-c", program], redis=False, **options)


def shell(lab: Lab, script: str, **options: Any) -> Command:
    return lab.command(["sh", "-c", script], redis=False, **options)


@pytest.mark.thorough
def test_a_lost_update_is_found_in_a_process_for_each_schedule(lab: Lab) -> None:
    """In its own words, a driver's errors included: REPEATABLE READ refuses these, and the process says so."""
    book = python(lab, ONCE)
    found = lab.explore([book, book], setup=SETUP)
    assert (found.schedules, found.anomalous) == (14, 12)
    assert "exit 0({'booked': 5000})" in str(found)
    refused = lab.explore([book, book], setup=SETUP, isolation="repeatable read")
    assert (refused.schedules, refused.anomalous, refused.aborted) == (14, 0, 12)


def test_a_lost_update_is_found_in_processes_that_are_kept(lab: Lab) -> None:
    """One for each session, which keeps its connection; each exploration has processes of its own."""
    book = python(lab, KEPT, kept=True).line({"amount": 5000})
    found = lab.explore([book, book], setup=SETUP)
    assert (found.schedules, found.anomalous) == (14, 12)
    assert "{'booked': 5000}" in str(found)
    assert book.command._workers == {}
    assert lab.replay([book, book], "A B A B A B", setup=SETUP).anomalous


@psql
@pytest.mark.thorough
def test_several_connections_of_a_command_are_its_own(lab: Lab) -> None:
    """Of a shell that asks psql twice: between the two, the other one books."""
    script = """
        booked=$(psql -qtAX "$DATABASE_URL" -c 'select booked from slots where id = 1')
        psql -qX -c "update slots set booked = $booked + 5000 where id = 1" && echo booked
        """
    found = lab.explore([shell(lab, script), shell(lab, script)], setup=SETUP, shrink=False)
    assert (found.schedules, found.anomalous) == (6, 4)


@psql
def test_it_is_explored_beside_functions(lab: Lab) -> None:
    """A function with a connection of the lab's, and psql, wait for one another."""

    def lock(conn: Any) -> None:
        conn.execute("select from slots where id = 1 for update")
        conn.execute("update slots set booked = booked + 1 where id = 1")

    raise_it = lab.command(["psql", "-qX", "-c", "update slots set booked = booked * 2 + 1 where id = 1"], redis=False)
    found = lab.explore([lock, raise_it], setup=SETUP)
    assert found.anomalous == 0
    assert found.run.blocked_steps > 0
    assert "slots: id=1, booked=2" in str(found)


@pytest.mark.thorough
def test_one_that_computes_for_long_does_not_wait_inside_its_program(lab: Lab) -> None:
    """As an interpreter that starts: what is silent for so long would be taken for waiting."""
    slow = python(lab, f"import time\nwhile time.process_time() < 1.4: pass\n{ONCE}")
    found = lab.explore([slow, python(lab, ONCE)], setup=SETUP, samples=1, shrink=False)
    assert not any("inside the program" in one for one in found.not_compared)
    assert lab.wire.stillness.places == set()


@psql
def test_exit_codes_are_failures_or_refusals(lab: Lab) -> None:
    """What was printed beside is in the report where nothing but failures came."""
    fails = "psql -qX -c 'update slots set booked = booked + 1'; echo it broke >&2; exit 75"
    with pytest.raises(NothingTested, match=r"raised exit 75\(''\), in each(.|\n)*it broke"):
        lab.explore([shell(lab, fails)], setup=SETUP)
    found = lab.explore([shell(lab, fails, refusals=[75])], setup=SETUP)
    assert found.aborted == found.schedules == 1


@psql
def test_redis_and_input_reach_it(lab: Lab) -> None:
    """Where its Redis is, and what it is given to read."""
    script = 'read line; echo "$line {redis_url} {dsn} $REDIS_URL"; psql -qX -c "select 1"'
    one = lab.command(
        ["sh", "-c", script.replace("psql", "psql -o /dev/null")], input={"id": 1}, env={"WHERE": "{dsn}"}
    )
    ended = one.ask()
    assert isinstance(ended, Exit)
    assert ended.output.startswith('{"id": 1} redis://')
    assert ended.output.split()[2:5:2] == [lab.wire.redis_url, lab.wire.redis_url]


COUNT = """
import os, sys, redis
with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
    for line in sys.stdin:
        client.set("orders", int(client.get("orders") or 0) + 1)
        print(line, end="", flush=True)
"""


@pytest.mark.thorough_but("kept")
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "for each schedule"])
def test_what_it_says_to_redis_takes_turns(lab: Lab, kept: bool) -> None:
    """Two read, then write: 4 of 6 orders lose a count."""
    words = [sys.executable, "-c", COUNT]
    count = lab.command(words, kept=True).line("1") if kept else lab.command(words, input="1\n")
    found = lab.explore([count, count], shrink=False)
    assert (found.schedules, found.anomalous) == (6, 4)


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b'{"a": 1}\n', {"a": 1}),
        (b"UPDATE 1\n", "UPDATE 1"),
        (b"no end", "no end"),
        (b"", ""),
        (b"\xff\xfe", b"\xff\xfe"),
    ],
)
def test_what_is_printed_is_told_as_what_it_is(raw: bytes, data: Any) -> None:
    """JSON, text, or bytes: two outputs that differ are never told alike."""
    assert data_of(raw) == data


def test_a_signal_that_ended_it_is_told(lab: Lab) -> None:
    ended = shell(lab, "kill -SEGV $$").ask()
    assert ended.parts() == ("ended by SIGSEGV", "")
    assert ended.failed


def not_a_program(folder: Path) -> Path:
    path = folder / "program"
    path.write_bytes(b"\0")
    path.chmod(0o755)
    return path


REFUSED: dict[str, tuple[Callable[[Lab, Path], object], str]] = {
    "no program": (lambda lab, folder: lab.command("no-such-program"), "no program 'no-such-program' to start"),
    "no words": (lambda lab, folder: lab.command(""), "a command is empty"),
    "half a quote": (lambda lab, folder: lab.command("sh 'x"), "cannot be split into words: No closing quotation"),
    "no folder": (lambda lab, folder: lab.command("sh", cwd=folder / "none"), "there is no folder .*none"),
    "no format": (lambda lab, folder: lab.command([not_a_program(folder)], redis=False).ask(), "Exec format error"),
    "input of a kept one": (
        lambda lab, folder: lab.command("sh", kept=True, input="x"),
        "neither input nor exit codes",
    ),
    "a line of one that is not": (lambda lab, folder: lab.command("sh").line("x"), "say kept=True"),
    "two lines": (lambda lab, folder: lab.command("sh", kept=True).line("x\ny"), "a line has no end of line in it"),
    "no line": (lambda lab, folder: lab.command("sh", kept=True).ask(), "say what it is told"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused(lab: Lab, tmp_path: Path, what: str) -> None:
    call, said = REFUSED[what]
    with pytest.raises(BadInput, match=said):
        call(lab, tmp_path)


def test_one_that_hangs_is_named_with_what_it_has_printed(lab: Lab) -> None:
    """And is ended: the lab is used again."""
    with pytest.raises(
        StepTimeout, match=r"session A, at the command .*, which has not ended, and last printed 'waits"
    ):
        lab.explore([shell(lab, "echo waits here; exec sleep 600")], setup=SETUP, step_seconds=1)
    kept = shell(lab, "read line; printf begun; sleep 600", kept=True).line("go")
    with pytest.raises(StepTimeout, match="which has answered b'begun' without an end of line"):
        lab.explore([kept], setup=SETUP, step_seconds=1)
    assert shell(lab, "echo 1").ask().output == 1


def test_too_much_output_is_refused(lab: Lab) -> None:
    """While it is printed, or in a line; what it prints beside is nobody's outcome."""
    with pytest.raises(ScheduleError, match="more than a MiB"):
        shell(lab, "exec cat /dev/zero").ask()
    with pytest.raises(ScheduleError, match="more than a MiB"):
        python(lab, "print('x' * 10_000_000)").ask()
    with pytest.raises(ScheduleError, match="more than a MiB"):
        shell(lab, "read line; exec cat /dev/zero", kept=True).line().ask()
    assert python(lab, "import sys; print('x' * 10_000_000, file=sys.stderr)").ask().status == 0


def test_a_kept_one_that_ends_or_speaks_unasked_is_reported(lab: Lab) -> None:
    """With its exit code, and what it has printed."""
    with pytest.raises(
        ServerLost, match=r"(?s)has ended, with exit code 3, after b'half' .*in the place .*out of paper"
    ):
        shell(lab, "read line; printf half; echo out of paper >&2; exit 3", kept=True).line("go").ask()
    talks = shell(lab, r"read line; printf '%s\nlog\n' $line; read line", kept=True).line("go")
    assert talks.ask() == "go"
    with pytest.raises(ScheduleError, match=r"has printed b'log\\n' unasked"):
        talks.ask()
    assert talks.ask() == "go"  # of a process that was started anew
    talks.command.end()


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_it_leaves_behind_ends_with_it(lab: Lab) -> None:
    """In the background, and in a session of its own, where no other command runs."""
    of_its_own = "import subprocess; print(subprocess.Popen(['sleep', '601'], start_new_session=True).pid)"
    for one in (shell(lab, "sleep 600 & echo $!"), python(lab, of_its_own)):
        ended = one.ask()
        assert ended.output > 1
        assert _becomes_empty(lambda pid=ended.output: [str(pid)] if alive(pid) else [], 20), one


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_ends_with_the_process_that_asked_for_it(outside: Outside) -> None:  # noqa: F811
    """Whatever kills that: a command and one that is kept, which would sleep for ten minutes."""
    program = """
import sys, threading
from zephyr_lab import Lab
lab = Lab()
threading.Thread(target=lab.command("sleep 600", redis=False).ask, daemon=True).start()
kept = lab.command(["sh", "-c", "read line; echo $line; trap '' TERM; sleep 601"], redis=False, kept=True)
print(kept.line("busy").ask(), flush=True)
import signal; signal.pause()
"""
    process = start(outside, program)
    assert process.stdout
    assert process.stdout.readline() == "busy\n"
    assert any("sleep 601" in one for one in outside.processes())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert outside.is_clean(), outside.leftovers()


def test_a_starter_that_was_killed_is_reported() -> None:
    """To who waits for a program of its, and to who wants another one."""
    programs = Programs()
    reads, writes = os.pipe()
    waits = programs.start(["cat"], dict(os.environ), None, (reads, 2, 2))
    starter = programs._starter
    assert starter
    assert waits.status(0) is None
    starter.kill()
    starter.wait()
    with pytest.raises(ServerLost, match="what keeps 'cat' has ended"):
        waits.status(5)
    with pytest.raises(ServerLost, match="what starts programs for the lab has ended"):
        programs.start(["true"], dict(os.environ), None, (reads, 2, 2))
    for one in (reads, writes):
        os.close(one)
    waits.close()
    programs.close()
