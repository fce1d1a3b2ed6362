"""A real browser, where the machine has one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")  # while playwright is up, nothing else of the worker can have an event loop
def browser() -> Iterator[Browser]:
    """Chromium; what needs it is skipped where there is none."""
    if chromium.program() is None:
        pytest.skip(chromium.MISSING)
    pytest.importorskip("playwright", reason="no playwright: pip install playwright")
    with chromium.started() as browser:
        yield browser
