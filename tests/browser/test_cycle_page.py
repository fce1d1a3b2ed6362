"""The page of a history's anomalies: lanes and edges, lit by pointer and keys; light or dark; it asks for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from zephyr_lab import check

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.thorough, pytest.mark.xdist_group("page")]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    history = check.parse(
        """A: r x [], append y 1
        B: r y [], append x 1
        C (fail): append z 1
        A: r z [1]"""
    )
    path = tmp_path_factory.mktemp("sent") / "skew.html"
    path.write_text(check.check(history, "serializable").html())
    return path


def test_edges_are_lit_by_pointer_and_keys(browser: Browser, file: Path) -> None:
    page = browser.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    assert page.locator(".zls-root").count() == 2
    skew = page.locator(".zls-root").filter(has_text="G2-item")
    edges, lit = skew.locator(".zls-edge"), skew.locator(".zls-lit")
    assert (edges.count(), lit.count()) == (2, 0)
    edges.first.hover()
    assert lit.count() == 2
    page.mouse.move(0, 0)
    assert lit.count() == 0
    edges.first.focus()
    page.keyboard.press("ArrowDown")
    assert edges.nth(1).evaluate("node => node === document.activeElement")
    page.keyboard.press("ArrowDown")
    assert edges.first.evaluate("node => node === document.activeElement")
    assert lit.count() == 2
    skew.locator(".zls-event").first.focus()
    assert (lit.count(), skew.locator(".zls-edge-lit").count()) == (1, 2)
    assert not page.locator("#report pre").is_visible()
    assert (asked, said) == ([file.as_uri()], [])
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_as_light_as_the_reader_wants(browser: Browser, file: Path, scheme: Literal["light", "dark"]) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(file.as_uri())
    dark = page.locator(".zls-root").first.evaluate("node => node.classList.contains('zls-dark')")
    assert dark is (scheme == "dark")
    page.close()


def test_without_javascript_it_is_the_report(browser: Browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert "a contradiction" in page.locator("#report").inner_text()
    context.close()
