"""What a reader does in JupyterLab, done in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.jupyterlab import jupyterlab, run_all
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_first_notebook_runs_and_its_stepper_steps(browser: Browser, tmp_path: Path) -> None:
    """No cell ends with an error; arrow keys, Home and Play move the stepper, and say so aloud."""
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    shutil.copy(ROOT / "notebooks" / "00-start.ipynb", notebooks)
    with jupyterlab(tmp_path, notebooks) as address:
        page = run_all(browser, address, "00-start.ipynb")
        assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
        stepper = page.locator(".zls-root").first
        count, spoken = stepper.locator(".zls-count"), stepper.locator(".zls-spoken[aria-live]")
        assert count.inner_text() == "10 of 10"
        stepper.focus()
        page.keyboard.press("ArrowLeft")
        assert count.inner_text() == "9 of 10"
        page.keyboard.press("Home")
        assert count.inner_text() == "0 of 10"
        for _ in range(6):
            page.keyboard.press("ArrowRight")
        assert spoken.text_content() == (
            "6 of 10. B: update slots set booked = 95000 where slot = '18:00': waits for A (transactionid, slots)."
        )
        assert stepper.locator(".zls-state").all_inner_texts() == [
            "in a transaction", "waits for A (transactionid, slots)",
        ]  # fmt: skip
        stepper.get_by_role("button", name="Play").click()
        stepper.get_by_text("10 of 10", exact=True).wait_for()
        assert stepper.locator(".zls-badge").all_inner_texts() == ["B sees this"]
        assert stepper.get_by_role("button", name="Play").is_visible()  # it has stopped by itself
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        stepper.focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        assert count.inner_text() == "1 of 10"  # without a kernel
        page.close()
