"""Pictures to look at: every page of a built site, some of them dark and narrow, and each notebook's main figure.

python -m tests.browser.screenshots build/site build/screenshots
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from tests.browser import chromium
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDE, NARROW = 1300, 420
ALSO_OTHERWISE = ("index", "notebooks/00-start", "matrix")


def shoot(browser: Browser, page: Path, into: Path, *, width: int = WIDE, dark: bool = False) -> None:
    """Writes a picture of a whole page."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    shown = context.new_page()
    shown.goto(page.as_uri())
    chromium.wait_for_widgets(shown)
    shown.screenshot(path=into, full_page=True)
    context.close()


def main_figure(notebook: Path) -> bytes | None:
    """The first picture of a stored notebook, at 100 %."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                return base64.b64decode(picture)
    return None


def main(site: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if picture := main_figure(notebook):
            (into / f"figure-{notebook.stem}.png").write_bytes(picture)
    if chromium.program() is None:
        sys.exit(chromium.MISSING)
    with chromium.started() as browser:
        for page in sorted(site.rglob("*.html")):
            name = page.relative_to(site).with_suffix("").as_posix()
            if name.startswith("_static"):
                continue
            flat = name.replace("/", "-")
            shoot(browser, page, into / f"{flat}.png")
            if name in ALSO_OTHERWISE:
                shoot(browser, page, into / f"{flat}-dark.png", dark=True)
                shoot(browser, page, into / f"{flat}-narrow.png", width=NARROW)
    print(f"{len(list(into.glob('*.png')))} pictures in {into}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
