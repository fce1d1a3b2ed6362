"""`--export`: what a command has found, as files, and the command that one of them names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.acceptance.test_cli import run
from tests.acceptance.test_explore_cli import DESCRIPTION, RACE
from zephyr_lab.cli import app
from zephyr_lab.errors import BadInput


def command_in(file: Path) -> list[str]:
    """The words behind `zephyr-lab`, with the file where it is."""
    (said,) = re.findall(r"(?m)^#   zephyr-lab (.*)", file.read_text(encoding="utf-8"))
    return [str(file) if word == file.name else word for word in shlex.split(said)]


@pytest.mark.server
def test_a_case_is_exported_and_the_spec_run_by_the_command_in_it(tmp_path: Path) -> None:
    """In all forms at once; one that cannot be written keeps none of the others from it."""
    files = [tmp_path / f"skew{suffix}" for suffix in (".spec", ".sql", ".py", ".html")]
    exports = [word for file in files for word in ("--export", str(file))]
    done = run("explore", "write-skew", "--isolation", "repeatable read", *exports)
    assert (done.returncode, done.stderr.splitlines()) == (0, [f"exported: {file}" for file in files])
    again = run(*command_in(files[0]))
    assert "write-skew at repeatable read" not in again.stdout
    assert "skew at repeatable read" in again.stdout
    assert "verdict: occurs: no serial order gives this outcome" in again.stdout


@pytest.mark.server
@pytest.mark.thorough
def test_a_schedule_of_a_case_and_one_of_a_service_are_exported(tmp_path: Path) -> None:
    """Anomalous or not; where nothing is, nothing is written."""
    deadlock, shop = tmp_path / "lost.spec", tmp_path / "shop.toml"
    shop.write_text(DESCRIPTION)
    run("run", "lost-update", "--isolation", "serializable", "--schedule", "A B A B A B", "--export", str(deadlock))
    assert "verdict: aborts 40001" in run(*command_in(deadlock)).stdout
    file = tmp_path / "orders.spec"
    run("explore", "--service", str(shop), *RACE, "--export", str(file))
    assert "verdict: occurs" in run(*command_in(file)).stdout
    none = tmp_path / "none.spec"
    done = run("explore", "lost-update", "--isolation", "serializable", "--export", str(none))
    assert done.stderr == f"not exported: {none}: no schedule was anomalous\n"
    assert not none.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("write-skew", "--export", "a.txt"), r"a.txt: a counterexample is exported by the file's suffix: \.spec"),
        (("write-skew", "--export", "none/skew.spec"), "none/skew.spec: there is no folder none; make it first"),
        (("--service", "FILE", *RACE, "--replay", "A B", "--export", "a.spec"), "leave out --replay and"),
        (("--service", "FILE", *RACE, "--no-shrink", "--export", "a.spec"), "leave out --replay and --no-shrink"),
    ],
)
def test_what_cannot_be_exported_is_said_before_anything_is_started(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    shop = tmp_path / "shop.toml"
    shop.write_text(DESCRIPTION)
    done = CliRunner().invoke(app, ["explore", *(str(shop) if word == "FILE" else word for word in words)])
    assert isinstance(done.exception, BadInput), done.output
    assert re.search(said, str(done.exception))
