"""Warm kernels: what a notebook sees is what it sees in an ordinary kernel, and nothing outlives whoever asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from tests.acceptance.test_kill import BUSY, Outside, outside, start  # noqa: F401
from tests.conftest import ROOT
from zephyr_lab.course.store import executed
from zephyr_lab.warm import ADDRESS, SOCKETS, warm_kernels

pytestmark = [pytest.mark.server, pytest.mark.skipif(sys.platform != "linux", reason="kernels are warm on Linux only")]

# What an import, or whoever forked, could have left behind.
SEEN = """
import sys, os, signal, threading, tempfile, multiprocessing.process, locale
print(sys.path, sys.flags, sys.argv[:2], sys.argv[3:], __name__, list(globals()))
print({name: value for name, value in sorted(os.environ.items()) if name not in OURS})
umask = os.umask(0); os.umask(umask)
print(os.getcwd(), oct(umask), tempfile.gettempdir(), multiprocessing.process.ORIGINAL_DIR, locale.getlocale())
print([(one.name, one.daemon) for one in threading.enumerate()], threading.Thread().name)
print(os.getsid(0) == os.getpgid(0) == os.getpid())
print([signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)])
print(sorted(os.readlink(f"/proc/self/fd/{one}").split(":")[0] for one in os.listdir("/proc/self/fd")[:3]))
import matplotlib, numpy, pandas, ipywidgets
print(dict(matplotlib.rcParams), numpy.get_printoptions())
print({name: str(pandas.get_option(name)) for name in pandas._config.config._select_options("display")})
print(sorted(get_ipython().kernel.comm_manager.targets), get_ipython().kernel.shell is get_ipython())
formatters = get_ipython().display_formatter.formatters
print({kind: sorted(map(str, one.deferred_printers)) for kind, one in formatters.items()})
"""
COST = "import time\nfrom zephyr_lab import Lab\nfrom zephyr_lab.course import predict\npredict('Is it?', ['a', 'b'])"
CHANCE = "import random, numpy, uuid\n(random.random(), numpy.random.random(), uuid.uuid4())"


@contextmanager
def cold_kernels() -> Iterator[None]:
    """Ordinary ones, whatever these tests run in."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (ADDRESS, SOCKETS, "JUPYTER_PATH"):
            patch.delenv(name, raising=False)
        yield


def run(folder: Path, *cells: str) -> list[str]:
    """What cells say, in a kernel of their own."""
    path = folder / "probe.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells]), path)
    found = nbformat.reads(executed(path), as_version=4).cells
    return [output.get("text") or output.data["text/plain"] for cell in found for output in cell.outputs]


@pytest.mark.thorough
def test_a_notebook_comes_out_the_same() -> None:
    """Byte for byte, pictures included."""
    path = ROOT / "notebooks" / "01-non-repeatable-read.ipynb"
    with cold_kernels():
        cold = executed(path)
        with warm_kernels():
            assert executed(path) == cold


@pytest.mark.thorough
def test_a_kernel_finds_what_an_ordinary_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its surroundings are those of whoever asked for it, not of the process that was forked; chance is its own."""
    cells = [
        f"OURS = {[ADDRESS, SOCKETS, 'JUPYTER_PATH', 'IPYTHONDIR', 'JPY_PARENT_PID']}" + SEEN,
        "1 + 1",
        "_ + 1, len(In), Out",
    ]
    with cold_kernels(), warm_kernels():
        monkeypatch.setenv("ZEPHYR_LAB_TEST", "set later")
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.delenv("HOME")
        before = os.umask(0o027)
        try:
            warm, again = run(tmp_path, *cells), [run(tmp_path, CHANCE) for _ in range(2)]
            with cold_kernels():
                assert warm == run(tmp_path, *cells)
        finally:
            os.umask(before)
    assert "set later" in warm[0]
    assert again[0] != again[1]
    for one, other in zip(*(said[0].split(",") for said in again), strict=True):
        assert one != other


@pytest.mark.thorough
def test_a_kernel_costs_a_fraction(tmp_path: Path) -> None:
    """Of the processor's time, up to a lab's import and a question with widgets."""
    ask = "print(time.process_time())"
    with cold_kernels():
        cold = float(run(tmp_path, COST, ask)[-1])
        with warm_kernels():
            warm = float(run(tmp_path, COST, ask)[-1])
    assert warm < cold / 3, (warm, cold)


def test_where_nobody_listens_a_kernel_is_an_ordinary_one(tmp_path: Path) -> None:
    """As after a fork server that was killed."""
    with cold_kernels(), warm_kernels() as server:
        assert server
        os.kill(server.pid, signal.SIGKILL)
        assert run(tmp_path, "6 * 7") == ["42"]


HOLDS = f"""
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="python3")
manager.start_kernel()
client = manager.blocking_client()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute({BUSY!r} + "print('busy')")
while client.get_iopub_msg(timeout=60)["content"].get("text") != "busy\\n": pass
print("busy", flush=True)
import signal; signal.pause()
"""
WITHIN = "from zephyr_lab.warm import warm_kernels\nwith warm_kernels():\n    " + HOLDS.strip().replace("\n", "\n    ")
INSTEAD = f"""
import os, sys
os.execv(sys.executable, [sys.executable, "-m", "zephyr_lab.warm", sys.executable, "-c", {HOLDS!r}])
"""


@pytest.mark.thorough
@pytest.mark.parametrize("program", [WITHIN, INSTEAD], ids=["within", "in-its-place"])
def test_a_kill_leaves_nothing(outside: Outside, program: str) -> None:  # noqa: F811
    """No kernel, none of its servers, not what it was forked from, and no folder."""
    with cold_kernels():
        outside.environment = {**os.environ, "TMPDIR": str(outside.folder)}
        process = start(outside, program)
    assert process.stdout
    assert process.stdout.readline() == "busy\n"
    running = outside.processes()
    assert sum("zephyr_lab.warm.server" in one for one in running) == 2  # and its fork
    assert any("postgres" in one for one in running)
    process.kill()
    process.communicate()
    assert outside.is_clean(), outside.leftovers()


def test_a_command_ends_with_its_own_status() -> None:
    """It is the same process."""
    done = subprocess.run([sys.executable, "-m", "zephyr_lab.warm", "sh", "-c", "exit 7"], check=False)
    assert done.returncode == 7
