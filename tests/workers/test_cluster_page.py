"""The page on clusters names options and functions that there are."""

from __future__ import annotations

import ast
import importlib
import re
import shlex

import typer

from tests.conftest import ROOT
from zephyr_lab.cli import app

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
NOT_HERE = {"dask_kubernetes", "dask_jobqueue"}  # in no extra: who has such a cluster has them


def test_its_commands_have_the_options_that_it_names() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    (text,) = (text for language, text in BLOCKS if language == "sh")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    assert len(lines) == 6
    for program, command, *words in lines:
        assert program == "zephyr-lab"
        known = {option for one in commands[command].params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_its_programs_import_what_there_is() -> None:
    programs = [ast.parse(text) for language, text in BLOCKS if language == "python"]
    assert len(programs) == 5
    for program in programs:
        for node in ast.walk(program):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] not in NOT_HERE:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, one.name) for one in node.names), node.module
