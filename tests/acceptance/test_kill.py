"""Whatever ends the process, nothing stays behind: looked at from outside, in /proc and in the temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from zephyr_lab.warm import ADDRESS, warm_kernels

pytestmark = [pytest.mark.server, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

# Both servers are up, and one session waits for another.
BUSY = """
from zephyr_lab import Lab, IsolationLevel
lab = Lab()
lab.redis.ping()
case = lab.case("lost-update")
run = lab.engine.runner.begin(case.spec, IsolationLevel.READ_COMMITTED)
for step in ("A_read", "B_read", "A_write", "B_write"): run.take(case.spec.steps[step])
"""


class Outside:
    """A temporary folder of one's own, and what of the processes that know of it is still there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "TMPDIR": str(folder)}

    def processes(self) -> list[str]:
        """Command lines of processes that have the folder in their arguments, environment or working directory.

        The directory, because a PostgreSQL backend writes its title over its environment. Zombies are gone.
        """
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
                where = bytes((process / "cwd").readlink())
                if str(self.folder).encode() in command + where + (process / "environ").read_bytes():
                    found.append(command.replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def leftovers(self) -> list[str]:
        """Those processes, and the folders of servers."""
        return self.processes() + [str(path) for path in self.folder.glob("zephyr-lab-*")]

    def is_clean(self, seconds: float = 20) -> bool:
        """Looks until nothing is left, for a bounded time."""
        return _becomes_empty(self.leftovers, seconds)

    def is_over(self, seconds: float = 20) -> bool:
        """Looks until no process is left, for a bounded time."""
        return _becomes_empty(self.processes, seconds)


def _becomes_empty(look: Callable[[], list[str]], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def outside() -> Iterator[Outside]:
    """Short, since a unix socket's path is; open to the account that root hands the servers to."""
    folder = Path(tempfile.mkdtemp(prefix="zk-", dir="/tmp"))
    folder.chmod(0o755)
    yield Outside(folder)
    shutil.rmtree(folder)


def start(outside: Outside, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=outside.environment,
        start_new_session=True,
        # A shell without job control starts what it puts in the background with SIGINT ignored, tests included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.thorough_but("SIGTERM")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_to_the_process_leaves_nothing(outside: Outside, name: str) -> None:
    """PostgreSQL, Valkey, their supervisors, folders and sockets are gone."""
    process = start(outside, BUSY + "print('busy', flush=True)\nimport signal; signal.pause()")
    assert process.stdout
    assert process.stdout.readline() == "busy\n"
    assert any("postgres" in one for one in outside.processes())
    assert any("valkey" in one for one in outside.processes())
    assert len(list(outside.folder.glob("zephyr-lab-*/*"))) > 2
    process.send_signal(getattr(signal, name))
    process.communicate()
    assert outside.is_clean(), outside.leftovers()


def test_servers_hear_the_signals_that_whoever_started_us_ignores(outside: Outside) -> None:
    """As under nohup, or in a script's background: the servers still end when their supervisor is killed."""
    ignoring = "import signal; signal.signal(signal.SIGQUIT, signal.SIG_IGN)\n"
    process = start(outside, ignoring + BUSY + "print('busy', flush=True)\nsignal.pause()")
    assert process.stdout
    assert process.stdout.readline() == "busy\n"
    for supervisor in children(process.pid):
        os.kill(supervisor, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert outside.is_over(), outside.processes()


def test_a_kill_while_a_session_is_stopped_leaves_nothing(outside: Outside) -> None:
    """Waiting sessions are stopped while a step is carried out, and do not hear then that they are to end."""
    stop = (
        "import os, signal; os.kill(run._channels['B'].pid, signal.SIGSTOP)\nprint('busy', flush=True); signal.pause()"
    )
    process = start(outside, BUSY + stop)
    assert process.stdout
    assert process.stdout.readline() == "busy\n"
    process.kill()
    process.communicate()
    assert outside.is_clean(), outside.leftovers()


@pytest.mark.thorough_but("0.7-True")
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("after", [0.02, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
def test_a_kill_while_the_servers_start_leaves_nothing(outside: Outside, after: float, kept: bool) -> None:
    """Before, during and after initdb or the copying of a kept cluster, wherever the moment falls on this machine."""
    if not kept:
        outside.environment["ZEPHYR_LAB_CACHE"] = str(outside.folder / "cache")
    process = start(outside, BUSY)
    time.sleep(after)
    process.kill()
    process.communicate()
    assert outside.is_clean(), outside.leftovers()


@pytest.mark.thorough
def test_killing_everything_but_the_folder_is_mended_by_the_next_lab(outside: Outside) -> None:
    """Where even the supervisors were killed the server goes with them, and the next lab sweeps the folder away."""
    process = start(outside, BUSY + "print('busy', flush=True)\nimport signal; signal.pause()")
    assert process.stdout
    process.stdout.readline()
    for supervisor in children(process.pid):
        os.kill(supervisor, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert outside.is_over(), outside.processes()
    again = start(
        outside,
        "from zephyr_lab import Lab\nwith Lab() as lab: lab.redis.ping(); print(lab.case('phantom').verdict().kind)",
    )
    assert again.communicate()[0] == "occurs\n"
    assert outside.is_clean(), outside.leftovers()


def children(pid: int) -> list[int]:
    """The pids of a process's children."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(params=["ordinary", pytest.param("warm", marks=pytest.mark.thorough)])
def kernel(
    outside: Outside, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KernelManager]:
    """A Jupyter kernel of this environment, or a fork of one that has everything imported."""
    for name in (ADDRESS, "JUPYTER_PATH"):
        monkeypatch.delenv(name, raising=False)
    with warm_kernels() if request.param == "warm" else contextlib.nullcontext():
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(env={**os.environ, "TMPDIR": str(outside.folder)})
        yield manager
        manager.shutdown_kernel(now=True)


def execute(manager: KernelManager, code: str, interrupt_when: str = "") -> str:
    """Runs code in the kernel; gives what it printed, or the name of its error."""
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    said: list[str] = []

    def listen(message: dict) -> None:  # type: ignore[type-arg]
        content = message["content"]
        said.append(content.get("text") or content.get("ename") or "")
        if interrupt_when and interrupt_when in said[-1]:
            manager.interrupt_kernel()

    client.execute_interactive(code, output_hook=listen, timeout=60, allow_stdin=False)
    client.stop_channels()
    return "".join(said)


def test_a_killed_kernel_leaves_nothing(outside: Outside, kernel: KernelManager) -> None:
    """As when the machine runs out of memory, or "Restart kernel" is pressed."""
    execute(kernel, BUSY)
    assert any("postgres" in one for one in outside.processes())
    kernel.signal_kernel(signal.SIGKILL)
    assert outside.is_clean(), outside.leftovers()


@pytest.mark.thorough
def test_an_interrupt_in_jupyter_ends_the_cell_and_not_the_servers(outside: Outside, kernel: KernelManager) -> None:
    """The square button sends SIGINT to the kernel's whole process group."""
    endless = (
        "from zephyr_lab.schedule import specfile\n"
        "spec = specfile.parse('session A step a { select pg_sleep(3600); }')\n"
        "from zephyr_lab import Lab\n"
        "lab = Lab()\n"
        "print('now', flush=True)\n"
        "lab.case(spec).run('A')\n"
    )
    assert execute(kernel, endless, interrupt_when="now").endswith("KeyboardInterrupt")
    assert execute(kernel, "print(lab.case('lost-update', 'serializable').verdict().kind)") == "aborts 40001\n"
    kernel.shutdown_kernel(now=False)
    assert outside.is_clean(), outside.leftovers()
