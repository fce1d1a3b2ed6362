"""What a reader does in JupyterLab, done in a real browser."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.browser.jupyterlab import Reader, jupyterlab
from tests.conftest import ROOT
from zephyr_lab.views.figure import DARK, GROUND

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("jupyterlab")]

NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
GUARDED = """def book(conn, slot, price):
    add = "update slots set booked = booked + %s where slot = %s and booked + %s <= capacity"
    return conn.execute(add, [price, slot, price]).rowcount == 1
"""


@pytest.fixture(scope="module")
def reader(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One JupyterLab and one page for all; the notebooks are copies."""
    scratch = tmp_path_factory.mktemp("jupyterlab")
    shutil.copytree(ROOT / "notebooks", scratch / "notebooks", ignore=shutil.ignore_patterns(".*"))
    with jupyterlab(scratch, scratch / "notebooks") as address:
        reader = Reader(browser, address)
        yield reader
        reader.close()


def cells(notebook: str, *holding: str) -> list[str]:
    """The ids of the first code cells that hold these texts."""
    held = json.loads((ROOT / "notebooks" / notebook).read_text(encoding="utf-8"))["cells"]
    code = [(one["id"], "".join(one["source"])) for one in held if one["cell_type"] == "code"]
    return [next(id for id, source in code if text in source) for text in holding]


@pytest.mark.thorough
def test_a_prediction_is_taken_and_the_stepper_steps(reader: Reader) -> None:
    """A click on an answer is noted; arrow keys, Home and Play move the stepper, and say so aloud."""
    reader.open("00-start.ipynb")
    asked = reader.run("cell-03", "cell-04", "cell-06", "cell-07", "cell-09", "cell-10", "cell-13")
    asked.get_by_text("1 100,000 roubles", exact=True).click()
    asked.get_by_text("Not 1: it is 2.").wait_for()
    asked.get_by_text("2 95,000 roubles", exact=True).click()
    asked.get_by_text("Right: 2.").wait_for()
    assert "0 of 1 predictions right so far." in asked.inner_text()  # the first choice counts
    shown = reader.run("cell-14", "cell-15", "cell-17")
    page, stepper = reader.page, shown.locator(".zls-root")
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
        "in a transaction",
        "waits for A (transactionid, slots)",
    ]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    stepper.get_by_role("button", name="Play").click()
    stepper.get_by_text("10 of 10", exact=True).wait_for()
    assert stepper.locator(".zls-badge").all_inner_texts() == ["B sees this"]
    assert stepper.get_by_role("button", name="Play").is_visible()  # it has stopped by itself
    reader.end_kernel()
    stepper.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert count.inner_text() == "1 of 10"  # without a kernel


@pytest.mark.thorough
def test_a_wrong_solution_meets_its_counterexample_and_a_right_one_holds(reader: Reader) -> None:
    """The exercise as it stands is broken by a schedule; a guarded statement, typed in, is not."""
    reader.open("03-lost-update.ipynb")
    lab, exercise, solution, check = cells(
        "03-lost-update.ipynb", "lab = Lab()", "exercise(", "def book(", ".check(book)"
    )
    answer = reader.run("cell-03", lab, exercise, solution, check).locator(".jp-Cell-outputArea")
    answer.get_by_text("safe-booking: the schedule A B B B A A breaks it").wait_for()
    reader.type_into(solution, GUARDED)
    reader.run(solution, check)
    answer.get_by_text("safe-booking: it holds").wait_for()
    assert answer.get_by_text("breaks it").count() == 0


@pytest.mark.thorough
def test_the_incident_panel_runs_and_says_what_came_of_it(reader: Reader) -> None:
    """One second of the broken strategy; the verdict and a chart appear, and Run can be pressed again."""
    reader.open("30-the-incident.ipynb")
    panel = reader.run("cell-02", "cell-24")
    seconds = panel.locator(".widget-slider", has_text="seconds").locator(".widget-readout")
    seconds.click()
    seconds.fill("1")
    reader.page.keyboard.press("Enter")
    assert seconds.inner_text() == "1"
    panel.get_by_role("button", name="Run", exact=True).click()
    panel.locator("b", has_text="oversold").wait_for()
    assert panel.locator("img").evaluate("(chart) => chart.naturalWidth") > 300
    assert panel.get_by_role("button", name="Run", exact=True).is_enabled()


@pytest.mark.thorough
def test_a_figure_is_dark_where_jupyterlab_is(reader: Reader) -> None:
    """White in the light theme; in the dark one its ground is the page's, and its text is light on it."""
    reader.open("01-non-repeatable-read.ipynb")
    reader.type_into("cell-03", "from zephyr_lab.views.service import service_picture; service_picture()")
    figure = reader.run("cell-03").locator(".jp-OutputArea-output img")
    assert _ground(figure) == "#ffffff"
    reader.choose_theme("JupyterLab Dark")
    assert _ground(figure) == DARK[GROUND]
    reader.choose_theme("JupyterLab Light")


def _ground(figure: Locator) -> str:
    """The commonest colour of a picture as it is shown."""
    shown = Image.open(io.BytesIO(figure.screenshot())).convert("RGB")
    _, colour = max(shown.getcolors(shown.width * shown.height) or [(0, (0, 0, 0))])
    return "#{:02x}{:02x}{:02x}".format(*colour)  # type: ignore[str-bytes-safe, misc]


@pytest.mark.thorough
def test_an_error_cell_would_be_seen(reader: Reader) -> None:
    """A cell that raises, typed in, is reported; those below it have not run."""
    reader.open("01-non-repeatable-read.ipynb")
    reader.type_into("cell-03", "1 / 0")
    reader.run_all()
    assert reader.errors() == ["ZeroDivisionError: division by zero"]
    assert "cell-04" in reader.not_run()


@pytest.mark.thorough
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_notebook_runs_without_an_error_cell(reader: Reader, notebook: str) -> None:
    """All cells of each, in JupyterLab; each has run, and none shows a traceback."""
    reader.open(notebook)
    reader.run_all()
    assert reader.errors() == []
    assert reader.not_run() == []
