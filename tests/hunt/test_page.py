"""The page: complete in itself, with the matrix, and a stepper for each counterexample."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import chromium
from tests.hunt.made import TRANSCRIPT, hunt, race, safe, undecided

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOUND = hunt(race("book", "book"), safe("book", "a<b"), undecided("a<b", "a<b"))


class Parts(HTMLParser):
    """The attributes of all elements, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data


def test_it_asks_for_nothing_from_elsewhere() -> None:
    parts = Parts(FOUND.to_html())
    wanted = [about[key] for _, about in parts.all for key in ("src", "href", "srcset") if key in about]
    assert all(str(one).startswith(("#", "data:")) for one in wanted), wanted
    assert "default-src 'none'" in FOUND.to_html()
    assert not re.search(r"@import|url\(\s*['\"]?http", parts.texts["style"])


def test_a_cell_leads_to_what_was_found_and_its_story_is_there() -> None:
    """What is independent has nothing to be opened; a name is text."""
    parts = Parts(FOUND.to_html())
    links = [about["href"] for tag, about in parts.all if tag == "a"]
    sections = [f"#{about['id']}" for tag, about in parts.all if tag == "section"]
    assert links == sections == ["#d0", "#d1"]
    stories = json.loads(re.search(r'id="stories">(.*?)</script>', FOUND.to_html(), re.S)[1])  # type: ignore[index]
    assert list(stories) == ["d0"]
    assert stories["d0"]["events"][0]["sql"] == TRANSCRIPT["events"][0]["sql"]  # type: ignore[index]
    assert "a&lt;b" in FOUND.to_html()
    assert "the verdict" in parts.texts["pre"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium.program() is None:
        pytest.skip(chromium.MISSING)
    pytest.importorskip("playwright", reason="no playwright: pip install playwright")
    with chromium.started() as browser:
        yield browser


@pytest.mark.thorough
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_cell_opens_its_counterexample_in_the_stepper(tmp_path: Path, browser: Browser, scheme: str) -> None:
    path, said = tmp_path / "races.html", list[str]()
    path.write_text(FOUND.to_html(), encoding="utf-8")
    page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
    page.on("console", lambda one: said.append(one.text))
    page.on("pageerror", lambda one: said.append(str(one)))
    page.on("request", lambda one: said.append(one.url) if not one.url.startswith(("file:", "data:")) else None)
    page.goto(path.as_uri())
    assert page.locator("section:visible").count() == 0
    page.locator("td.races a").click()
    page.locator(".zls-root").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".zls-count").text_content() == "1 of 2"
    page.locator("td.undecided a").click()
    assert page.locator("section:visible h2").text_content() == "a<b with a<b: undecided"
    assert said == []
