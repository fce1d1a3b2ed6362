"""The site: its pages link to each other, fetch nothing from elsewhere, and their steppers step."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from tests.browser.chromium import wait_for_widgets
from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.cli import app
from zephyr_lab.course.store import Execution, executed_with_widgets, read_notebook
from zephyr_lab.errors import BadInput

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytest.importorskip("myst_nb", reason="the site's tools are not installed: pip install -e .[site]")
from zephyr_lab.site.build import Built, build, executed_now
from zephyr_lab.site.kept import Kept, surroundings
from zephyr_lab.site.schedules import Schedules, all_schedules, schedules_now

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("site")]

AXE = "axe-core@4.14.1"
LOOKED_AT = (
    "index.html",
    "course.html",
    "matrix.html",
    "levels.html#snapshot-isolation",
    "schedules.html#lost-update/rr/ABABAB",
    "schedules.html#lock-after-read/rc",
    "notebooks/00-start.html",
    "notebooks/10-matrix.html",
    "notebooks/questions.html",
    "docs/services.html",
    "api/lab.html",
)


def only_the_first(path: Path) -> Execution:
    """Executes 00-start, takes the matrix as it is stored, and of the others their text, which has all the links."""
    if path.stem == "00-start":
        return executed_with_widgets(path)
    notebook = read_notebook(path)
    if path.stem != "10-matrix":
        notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    return Execution(notebook)


def of_three_cases() -> Schedules:
    with Lab() as lab:
        return {name: all_schedules(lab.case(name)) for name in ("lost-update", "read-skew", "lock-after-read")}


def of_none() -> Schedules:
    return {}


WAYS = [
    pytest.param((only_the_first, of_three_cases), id="the-first-executed", marks=pytest.mark.thorough),
    pytest.param(
        (executed_now, schedules_now), id="all-executed", marks=[pytest.mark.thorough, pytest.mark.timeout(1200)]
    ),
]


@pytest.fixture(scope="module", params=WAYS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of all notebooks; Sphinx has nothing to complain of."""
    into = tmp_path_factory.mktemp("site") / "site"
    execute, schedules = request.param
    assert build(ROOT / "notebooks", into, execute=execute, schedules=schedules) == Built([], [])
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
            if "schedules.html#" in link:
                case = unquote(parts.fragment).partition("/")[0]
                assert f'"{case}": {{' in (site / "_static" / "cases.js").read_text(encoding="utf-8"), link
            elif parts.fragment and target in read:
                assert unquote(parts.fragment) in read[target].places, f"{page.relative_to(site)}: {link}"


def test_the_front_page_has_the_idea_the_matrix_and_every_notebook(site: Path) -> None:
    """And the pages of functions have what their docstrings say."""
    front = (site / "index.html").read_text(encoding="utf-8")
    assert "no serial order of the committed transactions" in front
    assert front.count(">aborts 40001</") > 10
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{path.stem}.html" in front
    assert "zephyr_lab.lab.case.Case.stepper" in (site / "api" / "lab.html").read_text(encoding="utf-8")
    limits = (site / "limits.html").read_text(encoding="utf-8")
    assert "races inside one statement" in limits
    assert '<section id="the-matrix">' in limits  # which says so under a heading
    assert '<section id="one-slot-sold-twice">' in limits  # in a sentence


def test_pages_load_without_an_error_and_steppers_step(
    site: Path, browser: Browser, request: pytest.FixtureRequest
) -> None:
    """Opened from disk: no error on the console, no request but for files, and keys and Play work without a kernel."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda one: None if _is_local(one.url) else wrong.append(one.url))
    all_of_them = request.node.get_closest_marker("thorough")
    for path in pages(site) if all_of_them else (site / "index.html", site / "notebooks" / "00-start.html"):
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
            check_edges(stepper.nth(1))
    context.close()


def check_edges(stepper: Locator) -> None:
    """The pointer on an edge, or the focus, lights its two steps as long as it is there; later edges are hidden."""
    edges, lit, page = stepper.locator(".zls-edge"), stepper.locator(".zls-lit .zls-sql"), stepper.page
    stepper.focus()
    page.keyboard.press("Home")
    assert not edges.first.is_visible()
    page.keyboard.press("End")
    assert edges.locator(".zls-edge-kind").all_inner_texts() == ["B → A rw", "A → B ww"]
    edges.nth(0).hover()
    looked, wrote = lit.all_inner_texts()
    assert looked.startswith("begin; select")
    assert wrote.startswith("update slots")
    page.mouse.move(0, 0)
    assert lit.count() == 0
    edges.nth(0).focus()
    page.keyboard.press("Tab")
    assert [text[:12] for text in lit.all_inner_texts()] == ["update slots"] * 2
    page.keyboard.press("Shift+Tab")
    assert sorted(lit.all_inner_texts()) == sorted([looked, wrote])
    stepper.focus()
    assert lit.count() == 0


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a reader who has not been here before."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def test_a_link_opens_one_schedule_and_the_map_opens_the_others(site: Path, page: Page) -> None:
    """By its address, by a click in the map, by a choice above the lanes, and by a word of the matrix."""
    page.goto((site / "schedules.html").as_uri() + "#lost-update/rr/ABABAB")
    stepper = page.locator(".zls-root")
    stepper.get_by_text("aborts 40001", exact=True).wait_for()
    assert stepper.locator(".zls-state").all_inner_texts() == ["committed", "failed: 40001"]
    page.locator(".zephyr-map a[aria-current]").get_by_text("aborts 40001").wait_for()
    page.locator('.zephyr-map a[href="#lost-update/ser/AAABBB"]').click()
    stepper.locator(".zls-mark", has_text="prevented").wait_for()
    assert page.url.endswith("#lost-update/ser/AAABBB")
    stepper.get_by_role("combobox", name="Schedule").select_option("A B A B B A")
    stepper.get_by_text("The server does not admit this schedule at this level").wait_for()
    page.goto((site / "schedules.html").as_uri() + "#lock-after-read/rc/AAAABBBB")
    stepper.locator(".zls-title").get_by_text("lock-after-read").wait_for()
    assert page.locator(".zephyr-map a").count() == 3 * 70
    page.goto((site / "matrix.html").as_uri())
    page.get_by_role("row", name="lost-update").get_by_role("link", name="occurs").first.click()
    page.locator(".zls-mark", has_text="occurs").wait_for()
    assert "#lost-update/rc/" in page.url


def test_a_stepper_of_a_notebook_has_all_schedules_of_its_case(site: Path, page: Page) -> None:
    """Once it is in sight; of a run by hand there are no others."""
    page.goto((site / "notebooks" / "00-start.html").as_uri())
    wait_for_widgets(page)
    by_hand, run = page.locator(".zls-root").nth(0), page.locator(".zls-root").nth(1)
    run.scroll_into_view_if_needed()
    schedule = run.get_by_role("combobox", name="Schedule")
    schedule.wait_for()
    assert schedule.locator("option").count() == 20
    assert schedule.input_value() == "A B A B A B"
    schedule.select_option("A A A B B B")
    run.locator(".zls-mark", has_text="prevented").wait_for()
    assert by_hand.get_by_role("combobox").count() == 0


def test_a_prediction_is_judged_and_kept(site: Path, page: Page) -> None:
    """The first choice counts, also after the page was opened again; its listing is not shown."""
    page.goto((site / "notebooks" / "00-start.html").as_uri())
    wait_for_widgets(page)
    question = page.locator(".zlp-root")
    question.get_by_role("radio").nth(0).check()
    assert question.get_by_role("status").inner_text().startswith("Not 1: it is 2.")
    page.reload()
    wait_for_widgets(page)
    assert question.get_by_role("radio").nth(0).is_checked()
    question.get_by_role("radio").nth(1).check()
    said = question.get_by_role("status").inner_text()
    assert said.startswith("Right: 2.")
    assert said.endswith("0 of 1 predictions right so far.")
    assert page.get_by_text("import predict").count() == 0


def test_a_search_finds_states_by_their_numbers(site: Path, page: Page) -> None:
    """As people arrive with them."""
    for state in ("40001", "23505", "40P01"):
        page.goto((site / "search.html").as_uri() + f"?q={state}")
        page.locator("#search-results li a").first.wait_for()
        assert page.locator("#search-results li").count() > 3, state


def test_a_level_and_an_anomaly_show_what_follows_from_them(site: Path, page: Page) -> None:
    """By click and by address."""
    page.goto((site / "levels.html").as_uri() + "#write-skew")
    page.get_by_text("A history with write-skew is none of: ").wait_for()
    assert page.locator('[href="#serializable"][data-state="out"]').count() == 1
    assert page.locator('[href="#snapshot-isolation"][data-state="out"]').count() == 0
    page.locator('a.zephyr-node[href="#snapshot-isolation"]').click()
    page.get_by_text("snapshot-isolation forbids: ").wait_for()
    assert page.locator('[href="#read-committed"]').get_attribute("data-state") == "implied"
    assert page.locator(".zephyr-lines line").count() > 30


def test_figures_say_what_they_show(site: Path) -> None:
    """None is a picture whose name is a hash."""
    found = 0
    for path in pages(site):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'<img[^>]*alt="[^"]*[0-9a-f]{20}', text), path.name
        found += len(re.findall(r'<svg[^>]*role="img" aria-label="[^"]{15,}"', text))
    assert found >= 3


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The code of axe-core, from npm."""
    if (npm := shutil.which("npm")) is None:
        pytest.skip("no npm here")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run([npm, "pack", "--silent", AXE], cwd=folder, capture_output=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip("the npm registry is out of reach")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        inside = archive.extractfile("package/axe.min.js")
        assert inside
        return inside.read().decode()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    site: Path, browser: Browser, axe: str, scheme: Literal["light", "dark"], width: int
) -> None:
    """Contrast, names, roles (WCAG 2.2 AA), on the pages that differ in kind; and no page is wider than the window."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    for name in LOOKED_AT:
        page.goto((site / name.partition("#")[0]).as_uri() + name[len(name.partition("#")[0]) :])
        wait_for_widgets(page)
        page.evaluate(axe)
        found = page.evaluate("axe.run({ resultTypes: ['violations'], preload: false })")
        serious = [
            (one["id"], node["target"], node["failureSummary"])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"][:3]
        ]
        assert serious == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    context.close()


def _is_local(address: str) -> bool:
    return urlsplit(address).scheme in ("file", "blob", "data")


def test_a_folder_that_is_no_site_is_left_alone(tmp_path: Path) -> None:
    """So is one without notebooks; a command says so."""
    (tmp_path / "thesis.txt").write_text("my only copy")
    with pytest.raises(BadInput, match="holds something else"):
        build(ROOT / "notebooks", tmp_path, execute=only_the_first, schedules=of_none)
    assert (tmp_path / "thesis.txt").exists()
    with pytest.raises(BadInput, match="no notebooks"):
        build(tmp_path, tmp_path / "site", execute=only_the_first, schedules=of_none)
    assert "site" in {command.callback.__name__ for command in app.registered_commands if command.callback}


def notebook(path: Path, *cells: str) -> None:
    """Writes one, with a title."""
    made = [nbformat.v4.new_markdown_cell(f"# {path.stem}"), *map(nbformat.v4.new_code_cell, cells)]
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)


@pytest.mark.thorough
def test_a_cell_that_fails_costs_no_other_page_and_is_named_on_its_own(tmp_path: Path) -> None:
    """A wrong cell and a slow one; what was run before them is shown, what comes after is not run."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    table = "from IPython.display import Markdown\nMarkdown('| claim |\\n|---|\\n| holds |')"
    notebook(folder / "a-good.ipynb", "print('all' + ' well')", table)
    notebook(folder / "b-wrong.ipynb", "print('so' + ' far')", "1 / 0", "print('never' + ' run')")
    notebook(folder / "c-slow.ipynb", "import time\ntime.sleep(600)")
    built = build(folder, tmp_path / "site", execute=partial(executed_now, cell_seconds=3), schedules=of_none)
    assert built.warnings == []
    wrong, slow = built.failures
    assert re.fullmatch(r"b-wrong\.ipynb: \w+ \(`1 / 0`\) raised ZeroDivisionError: division by zero", wrong)
    assert re.fullmatch(r"c-slow\.ipynb: .*`import time`.* within 3 s; allow more with --cell-seconds", slow)
    pages = {
        one: (tmp_path / "site" / "notebooks" / f"{one}.html").read_text() for one in ("a-good", "b-wrong", "c-slow")
    }
    assert "all well" in pages["a-good"]
    assert re.search(r"<td[^>]*>(<p>)?holds", pages["a-good"])
    assert "so far" in pages["b-wrong"]
    assert "never run" not in pages["b-wrong"]
    assert "raised ZeroDivisionError" in pages["b-wrong"]
    assert "within 3 s" in pages["c-slow"]


def test_what_was_executed_is_kept_as_long_as_nothing_of_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text may change; its code may not, nor may what it is executed with."""
    path = tmp_path / "a.ipynb"
    notebook(path, "1 + 1")
    done = read_notebook(path)
    done.cells[1].outputs = [nbformat.v4.new_output("stream", text="2")]
    Kept(tmp_path / "cache").keep(done, path)
    stored = read_notebook(path)
    stored.cells[0].source = "# Another title"
    found = Kept(tmp_path / "cache").find(stored)
    assert found
    assert [found.cells[0].source, found.cells[1].outputs[0].text] == ["# Another title", "2"]
    stored.cells[1].source = "1 + 2"
    assert Kept(tmp_path / "cache").find(stored) is None
    surroundings.cache_clear()
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", "postgresql://elsewhere")
    assert Kept(tmp_path / "cache").find(read_notebook(path)) is None
    Kept(tmp_path / "cache").keep(done, path)
    assert len(list((tmp_path / "cache").iterdir())) == 1  # nothing of the other server stays
    surroundings.cache_clear()
