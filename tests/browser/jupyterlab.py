"""A JupyterLab for a test: on loopback, with settings of its own, and a notebook that is opened and run in it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

START_SECONDS = 60
RUN_MILLISECONDS = 90_000
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # otherwise only what is in view is drawn
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
_RUN_ALL = """async () => {
  const app = window.jupyterapp;
  while (!app.shell.currentWidget?.context) await new Promise((done) => setTimeout(done, 100));
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await app.commands.execute("notebook:run-all-cells");
}"""


@contextmanager
def jupyterlab(scratch: Path, notebooks: Path) -> Iterator[str]:
    """Starts JupyterLab on a folder, and gives the address that opens a notebook of it: `.format(name)`."""
    config = scratch / "config"
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    token = secrets.token_hex(16)
    folders = {"CONFIG": config, "DATA": scratch / "data", "RUNTIME": scratch / "runtime"}
    environment = {
        **os.environ, **{f"JUPYTER_{name}_DIR": str(path) for name, path in folders.items()},
        "IPYTHONDIR": str(scratch / "ipython"), "MPLCONFIGDIR": str(scratch / "matplotlib"), "PYTHONPATH": str(ROOT),
        "JUPYTER_TOKEN": token,
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={notebooks}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with (scratch / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        address = _address(scratch, server)
        yield f"{address}doc/tree/{{}}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(20)


def _address(scratch: Path, server: subprocess.Popen[bytes]) -> str:
    """Where it listens, when it does: it writes that down, and answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        for path in (scratch / "runtime").glob("jpserver-*.json"):
            try:
                address = str(json.loads(path.read_text())["url"])
                urllib.request.urlopen(f"{address}api", timeout=5).read()
            except (OSError, ValueError):
                continue
            return address
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{(scratch / 'log').read_text()[-3000:]}")


def run_all(browser: Browser, address: str, notebook: str) -> Page:
    """Opens a notebook and runs all its cells; the page then shows their outputs."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(RUN_MILLISECONDS)
    page.goto(address.format(notebook))
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate(_RUN_ALL)
    return page
