"""`make lab` and `zephyr-lab course`: JupyterLab on the first notebook, for whoever has the token on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.test_cli import PROGRAM
from tests.conftest import ROOT

pytestmark = pytest.mark.server


def listening(pids: set[int]) -> set[str]:
    """Addresses (in /proc's hexadecimal) on which the processes accept connections."""
    sockets = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into /proc")
@pytest.mark.parametrize("command", [["make", "lab"], [PROGRAM, "course", "notebooks"]], ids=["make", "course"])
def test_jupyterlab_opens_the_first_notebook_on_loopback_with_a_token(command: list[str], tmp_path: Path) -> None:
    """Without the token nothing but the login is to be had."""
    environment = {
        **os.environ,
        "JUPYTER_PORT": "0",
        "BROWSER": "true",
        "HOME": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
    }
    process = subprocess.Popen(
        command,
        cwd=ROOT if command[0] == "make" else tmp_path,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server = wait_for_server(tmp_path / "runtime", process)
        assert listening({server["pid"]}) == {"0100007F"}  # 127.0.0.1
        assert len(server["token"]) >= 32
        contents = f"{server['url']}api/contents/00-start.ipynb?content=0"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(contents, timeout=20)
        assert refused.value.code == 403
        with urllib.request.urlopen(f"{contents}&token={server['token']}", timeout=20) as answer:
            assert json.load(answer)["name"] == "00-start.ipynb"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for_server(runtime: Path, process: subprocess.Popen[bytes]) -> dict[str, object]:
    """What a starting Jupyter server writes of itself, once it answers."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            server = json.loads(path.read_text())
            try:
                urllib.request.urlopen(f"{server['url']}login", timeout=5).close()
            except (OSError, urllib.error.URLError):
                continue
            return server
        time.sleep(0.1)
    raise AssertionError(f"no server; the command ended with {process.poll()}")
