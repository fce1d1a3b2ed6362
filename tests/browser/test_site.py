"""The site: its pages link to each other, fetch nothing from elsewhere, and their steppers step."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from tests.browser.chromium import wait_for_widgets
from tests.conftest import ROOT
from zephyr_lab.cli import app
from zephyr_lab.course.store import executed_with_widgets, read_notebook
from zephyr_lab.errors import BadInput

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("myst_nb", reason="the site's tools are not installed: pip install -e .[site]")
from zephyr_lab.site.build import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("site")]


def only_the_first(path: Path) -> nbformat.NotebookNode:
    """Executes 00-start, and takes the others as they are stored: nbval executes them."""
    return executed_with_widgets(path) if path.stem == "00-start" else read_notebook(path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of all notebooks; Sphinx has nothing to complain of."""
    into = tmp_path_factory.mktemp("site") / "site"
    assert build(ROOT / "notebooks", into, execute=only_the_first) == []
    return into


class Links(HTMLParser):
    """What a page links to and loads, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.places.add(value)
            elif name == "href" and value and tag == "a":
                self.links.append(value)
            elif value and ((name == "href" and tag == "link") or name == "src"):
                self.loaded.append(value)


def pages(site: Path) -> list[Path]:
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Pages, places in pages, pictures, scripts and styles."""
    read = {path: Links(path) for path in pages(site)}
    assert len(read) > 20
    for page, found in read.items():
        for link in found.links + found.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert link in found.links, f"{page.name} loads {link}"
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.relative_to(site)}: {link}"
            if parts.fragment and target in read:
                assert unquote(parts.fragment) in read[target].places, f"{page.relative_to(site)}: {link}"


def test_the_front_page_has_the_idea_the_matrix_and_every_notebook(site: Path) -> None:
    """And the pages of functions have what their docstrings say."""
    front = (site / "index.html").read_text(encoding="utf-8")
    assert "no serial order of the committed transactions" in front
    assert front.count("aborts 40001</td>") > 10
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{path.stem}.html" in front
    assert "zephyr_lab.case.Case.stepper" in (site / "api" / "lab.html").read_text(encoding="utf-8")
    assert "races inside one statement" in (site / "limits.html").read_text(encoding="utf-8")


def test_every_page_loads_without_an_error_and_its_steppers_step(site: Path, browser: Browser) -> None:
    """Opened from disk: no error on the console, no request but for files, and keys and Play work without a kernel."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    for path in pages(site):
        page = context.new_page()
        wrong: list[str] = []
        page.on("console", lambda said, wrong=wrong: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        page.on("request", lambda one, wrong=wrong: None if _is_local(one.url) else wrong.append(one.url))
        page.goto(path.as_uri())
        wait_for_widgets(page)
        assert wrong == [], path.relative_to(site)
        if path.stem == "00-start":
            stepper = page.locator(".zls-root")
            assert stepper.count() == 3  # by hand, and the runs at two levels
            stepper.nth(2).focus()
            page.keyboard.press("Home")
            for _ in range(6):
                page.keyboard.press("ArrowRight")
            assert stepper.nth(2).locator(".zls-state").all_inner_texts() == ["committed", "failed: 40001"]
            stepper.nth(2).get_by_role("button", name="Play").click()
            stepper.nth(2).get_by_text("7 of 7", exact=True).wait_for()
        page.close()
    context.close()


def _is_local(address: str) -> bool:
    return urlsplit(address).scheme in ("file", "blob", "data")


def test_a_folder_that_is_no_site_is_left_alone(tmp_path: Path) -> None:
    """So is one without notebooks; a command says so."""
    (tmp_path / "thesis.txt").write_text("my only copy")
    with pytest.raises(BadInput, match="holds something else"):
        build(ROOT / "notebooks", tmp_path, execute=read_notebook)
    assert (tmp_path / "thesis.txt").exists()
    with pytest.raises(BadInput, match="no notebooks"):
        build(tmp_path, tmp_path / "site", execute=read_notebook)
    assert "site" in {command.callback.__name__ for command in app.registered_commands if command.callback}
