"""PostgreSQL's own specs (src/test/isolation), and the outputs that PostgreSQL expects of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SHARED
from zephyr_lab import Lab

SPECS = sorted((SHARED / "isolation" / "specs").glob("*.spec"))


@pytest.mark.skipif(not SPECS, reason="PostgreSQL's specs are not beside the project")
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_prints_what_postgresql_expects(lab: Lab, path: Path) -> None:
    """Byte for byte; some specs have more than one expected output."""
    expected = path.parents[1] / "expected"
    accepted = [expected / f"{path.stem}.out", *sorted(expected.glob(f"{path.stem}_[0-9].out"))]
    printed: list[str] = []
    lab.isolationtester(path, printed.append)
    assert "".join(printed) in [one.read_text() for one in accepted if one.exists()]
