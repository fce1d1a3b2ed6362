"""A JupyterLab for a test: on loopback, with settings of its own, and a reader who opens and runs notebooks in it."""

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
    from playwright.sync_api import Browser, Locator

START_SECONDS = 60
RUN_MILLISECONDS = 90_000
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # otherwise only what is in view is drawn
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
_CLOSE = """async () => {
  if (!window.opened) return;
  await window.opened.sessionContext.shutdown();
  window.opened.context.model.dirty = false;  // otherwise it asks whether to save
  window.opened.dispose();
}"""
_OPEN = """async (name) => {
  window.opened = await window.jupyterapp.commands.execute("docmanager:open", { path: name, factory: "Notebook" });
  await window.opened.context.ready;
  await window.opened.sessionContext.ready;
  await window.opened.sessionContext.session.kernel.info;
  await window.jupyterapp.commands.execute("notebook:clear-all-cell-outputs");  // the stored ones prove nothing
}"""
_CHOOSE = """(id) => {
  const notebook = window.opened.content;
  notebook.activeCellIndex = notebook.widgets.findIndex((cell) => cell.model.id === id);
  notebook.deselectAll();
  notebook.activeCell.node.classList.add("chosen-" + id);
  return notebook.activeCellIndex;
}"""
_ERRORS = """() => window.opened.content.widgets.filter((cell) => cell.model.type === "code")
  .flatMap((cell) => cell.model.outputs.toJSON()).filter((output) => output.output_type === "error")
  .map((output) => output.ename + ": " + output.evalue)"""
_NOT_RUN = """() => window.opened.content.widgets
  .filter((cell) => cell.model.type === "code" && cell.model.executionCount === null).map((cell) => cell.model.id)"""
_COMMAND = "async (name) => { await window.jupyterapp.commands.execute(name); }"


@contextmanager
def jupyterlab(scratch: Path, notebooks: Path) -> Iterator[str]:
    """Starts JupyterLab on a folder of notebooks, and gives its address."""
    config = scratch / "config"
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    token = secrets.token_hex(16)
    folders = {"CONFIG": config, "DATA": scratch / "data", "RUNTIME": scratch / "runtime"}
    environment = {
        **os.environ,
        **{f"JUPYTER_{name}_DIR": str(path) for name, path in folders.items()},
        "IPYTHONDIR": str(scratch / "ipython"),
        "MPLCONFIGDIR": str(scratch / "matplotlib"),
        "PYTHONPATH": str(ROOT),
        "JUPYTER_TOKEN": token,
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={notebooks}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with (scratch / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        address = _address(scratch, server)
        yield f"{address}lab?token={token}&reset"
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


class Reader:
    """Who sits at JupyterLab: opens one notebook at a time, runs cells, types, and looks at what the page shows."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.page = browser.new_page(viewport={"width": 1300, "height": 1000})
        self.page.set_default_timeout(RUN_MILLISECONDS)
        self.page.goto(address)
        self.page.wait_for_function("() => window.jupyterapp")
        self.page.evaluate("async () => { await window.jupyterapp.restored; }")

    def open(self, notebook: str) -> None:
        """With a kernel of its own; the notebook before is closed, and its kernel ended."""
        self.page.evaluate(_CLOSE)
        self.page.evaluate(_OPEN, notebook)

    def run_all(self) -> None:
        self.page.evaluate(_COMMAND, "notebook:run-all-cells")

    def run(self, *cells: str) -> Locator:
        """Runs cells by their ids; the last one, as the page shows it. No cell may end with an error."""
        for cell in cells:
            assert self.page.evaluate(_CHOOSE, cell) >= 0, f"no cell {cell}"
            self.page.evaluate(_COMMAND, "notebook:run-cell")
            assert self.errors() == [], cell
        return self.cell(cells[-1])

    def type_into(self, cell: str, text: str) -> None:
        """Replaces what a cell holds, by the keyboard."""
        assert self.page.evaluate(_CHOOSE, cell) >= 0, f"no cell {cell}"
        self.cell(cell).locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)

    def cell(self, cell: str) -> Locator:
        """A cell that was run or typed into."""
        return self.page.locator(f".chosen-{cell}")

    def errors(self) -> list[str]:
        """Errors that cells ended with: on the page they look like anything else that went to stderr."""
        return self.page.evaluate(_ERRORS)

    def choose_theme(self, theme: str) -> None:
        """`JupyterLab Light` or `JupyterLab Dark`; waits until the page says so."""
        self.page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        self.page.locator(f'body[data-jp-theme-name="{theme}"]').wait_for(state="attached")

    def end_kernel(self) -> None:
        self.page.evaluate("() => window.opened.sessionContext.shutdown()")

    def not_run(self) -> list[str]:
        """Ids of code cells that this kernel has not executed."""
        return self.page.evaluate(_NOT_RUN)

    def close(self) -> None:
        """Ends the last kernel, which takes its servers along, and closes the page."""
        self.page.evaluate(_CLOSE)
        self.page.close()
