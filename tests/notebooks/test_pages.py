"""The pages that lead into the course: each link meets its heading, and each schedule runs as it is printed."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT
from zephyr_lab.lab import Lab

PAGES = sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\]\(((?:\.\./notebooks/)?[\w-]+\.(?:ipynb|md))(?:#([\w-]+))?\)")
SHOWN = re.compile(r"(?:```spec\n(.+?)```\n\n)?```sh\n(zephyr-lab run .+?)\n```\n\n```\n(.+?)\n```", re.DOTALL)
CODES = sorted((ROOT / "docs").glob("sqlstate-*.md"))


@cache
def anchors(path: Path) -> set[str]:
    """GitHub's names of a page's headings."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in re.findall(r"(?m)^#+ (.+)$", text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_link_leads_to_a_heading_that_is_there(page: Path) -> None:
    """In a notebook, or on another page."""
    for link, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / link).resolve()
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), (link, anchor)


@pytest.mark.server
def test_the_schedules_of_the_sqlstates_run_as_they_are_printed(lab: Lab, tmp_path: Path) -> None:
    """And each raises what its page is about."""
    assert len(CODES) == 7
    for page in CODES:
        ((spec, command, printed),) = SHOWN.findall(page.read_text(encoding="utf-8"))
        _, _, name, *options = shlex.split(command)
        told = dict(zip(options[::2], options[1::2], strict=True))
        if spec:
            (tmp_path / name).write_text(spec, encoding="utf-8")
        case = lab.case(tmp_path / name if spec else name, told.get("--isolation", "read committed"))
        assert str(case.run(told["--schedule"])) == printed
        assert page.stem.removeprefix("sqlstate-") in printed
