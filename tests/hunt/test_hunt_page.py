"""The page on hunts shows what happens: its files are written, its commands run, and print what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from zephyr_lab.hunt.patterns import PATTERNS

PAGE = (ROOT / "docs" / "hunt.md").read_text(encoding="utf-8")


@pytest.mark.server
@pytest.mark.thorough
def test_its_commands_print_what_it_says(tmp_path: Path) -> None:
    """The first one writes the baseline, with which the second one finds nothing new."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
    for language, text in blocks:
        if language in ("python", "sql"):
            (tmp_path / text.split()[1]).write_text(text)
    (commands,) = (text for language, text in blocks if language == "sh")
    (expected,) = (text for language, text in blocks if language == "text")
    for command in commands.splitlines():
        words = [sys.executable, "-m", "zephyr_lab", *command.split()[1:]]
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=100, env={"PYTHONPATH": str(ROOT)}
        )
        assert (done.returncode, done.stderr) == (0, "")
    for line in expected.splitlines():
        assert line in done.stdout


def test_it_has_every_pattern() -> None:
    named = re.findall(r"`([\w-]+)`", "".join(line for line in PAGE.splitlines() if line.startswith("| `")))
    assert set(named) == set(PATTERNS)
    for name, said in PATTERNS.items():
        if f"| `{name}` |" in PAGE:
            assert said[0].lower() + said[1:-1] in PAGE
