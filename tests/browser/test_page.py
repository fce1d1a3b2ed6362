"""A page that somebody was sent: opened from a folder, it steps, asks for nothing, and is light or dark as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.conftest import slots_spec
from zephyr_lab import Lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.thorough, pytest.mark.xdist_group("page")]

HOSTILE = "</script><script>document.title = 'run'</script><img src=https://example.org/x.png>"
SPEC = f"""
session A step read {{ begin; select booked, '{HOSTILE.replace("'", "''")}' as note from slots where slot = 'a'; }}
          step write {{ update slots set booked = 1 where slot = 'a'; }} step commit {{ commit; }}
session B step b_read {{ begin; select booked from slots where slot = 'a'; }}
          step b_write {{ update slots set booked = 1 where slot = 'a'; }} step b_commit {{ commit; }}
"""


@pytest.fixture(scope="module")
def file(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shown = lab.case(slots_spec(SPEC, "sold twice")).example("A B A B A B")
    return shown.export(tmp_path_factory.mktemp("sent") / "sold twice.html")


def test_it_steps_and_asks_for_nothing(browser: Browser, file: Path) -> None:
    page = browser.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    assert page.locator(".zls-count").inner_text() == "0 of 7"
    assert page.locator(".zls-event.zls-future").count() == 7
    page.locator(".zls-root").press("ArrowRight")
    page.get_by_role("button", name="One step forward").click()
    assert page.locator(".zls-count").inner_text() == "2 of 7"
    page.locator(".zls-root").press("End")
    assert page.locator(".zls-event.zls-future").count() == 0
    assert "waits for A" in page.locator(".zls-event.zls-wait").inner_text()
    assert page.locator(".zls-version").count() > 1
    assert not page.locator("#text").is_visible()
    assert page.title().startswith("sold twice at read committed")
    assert "verdict: occurs" in page.locator("body").inner_text()
    assert page.locator("img").count() == 0
    assert (asked, said) == ([file.as_uri()], [])
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_as_light_as_the_reader_wants(browser: Browser, file: Path, scheme: Literal["light", "dark"]) -> None:
    """Text and ground differ enough to be read, in the stepper too."""
    page = browser.new_page(color_scheme=scheme)
    page.goto(file.as_uri())
    page.wait_for_function(
        f"document.querySelector('.zls-root').classList.contains('zls-dark') === {str(scheme == 'dark').lower()}"
    )
    colour = "name => getComputedStyle(document.body)[name].match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    text, ground = (page.evaluate(colour, name) for name in ("color", "backgroundColor"))
    assert (ground - text > 500) if scheme == "light" else (text - ground > 500)
    page.close()


def test_without_javascript_it_is_its_text(browser: Browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert "waits for A" in page.locator("#text").inner_text()
    context.close()
