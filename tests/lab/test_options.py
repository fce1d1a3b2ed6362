"""Options have one model: signatures that are written out, and those that are generated, agree with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from zephyr_lab import Lab
from zephyr_lab.cli import app
from zephyr_lab.course.panel import Panel
from zephyr_lab.errors import BadInput
from zephyr_lab.lab.case import Case
from zephyr_lab.load import Incident
from zephyr_lab.options import (
    CASE_OPTIONS,
    FUNCTION_OPTIONS,
    HUNT_OPTIONS,
    RUN_OPTIONS,
    TEST_OPTIONS,
    ExploreOptions,
    LoadOptions,
    Options,
)
from zephyr_lab.testing import Zephyr

SIGNATURES = {
    "Case.explore": (Case.explore, CASE_OPTIONS),
    "Lab.explore": (Lab.explore, FUNCTION_OPTIONS),
}
OF_THE_VERB = {"self", "functions", "on_progress", "executor"}
OF_THE_COMMAND = {
    "explore": {"case", "service", "request", "replay", "sessions", "export", "format", "cluster"},
    "hunt": {
        "cluster",
        "operations",
        "export",
        "history",
        "service",
        "setup",
        "triples",
        "format",
        "output",
        "baseline",
        "write_baseline",
        "strict",
    },
    "incident": {"format", "into", "history", "yes", "cluster"},
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_written_signature_has_the_models_names_and_defaults(name: str) -> None:
    """Each of its options, and no other."""
    function, wanted = SIGNATURES[name]
    given = {one.name: one.default for one in inspect.signature(function).parameters.values()}
    assert {name: given[name] for name in given if name not in OF_THE_VERB} == ExploreOptions().part(wanted)


def test_a_replay_takes_the_options_of_a_run_and_no_other(lab: Lab) -> None:
    """By name, as its docstring has them."""
    assert {name for name in RUN_OPTIONS if f"`{name}`" not in (Lab.replay.__doc__ or "")} == set()
    lab.function_explorer([print], **ExploreOptions().part(RUN_OPTIONS))
    for name in {*ExploreOptions.names()} - {*RUN_OPTIONS}:
        with pytest.raises(TypeError, match=name):
            lab.replay([print], "A", **{name: 1})


def test_every_option_of_an_exploration_is_somebodys() -> None:
    """And none of them is named twice, or by a name that the model has not."""
    for names in (CASE_OPTIONS, FUNCTION_OPTIONS, TEST_OPTIONS):
        assert len(set(names)) == len(names)
    assert {*CASE_OPTIONS, *FUNCTION_OPTIONS} == {*ExploreOptions.names()}
    assert {*TEST_OPTIONS} <= {*FUNCTION_OPTIONS}


@pytest.mark.parametrize(
    ("command", "model", "wanted"),
    [
        ("explore", ExploreOptions, {*CASE_OPTIONS, *FUNCTION_OPTIONS} - {"setup", "compare"}),
        ("hunt", ExploreOptions, {*HUNT_OPTIONS, "budget", "jobs"} - {"setup", "compare"}),
        ("incident", LoadOptions, {*LoadOptions.names()}),
    ],
)
def test_a_command_has_the_models_names_defaults_and_help(command: str, model: type[Options], wanted: set[str]) -> None:
    """As the parser has them, not as the source does; a flag that is off has no --no- beside it, but one of neither."""
    parser = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    made = {one.name: one for one in parser.params}
    assert made.keys() - OF_THE_COMMAND[command] == wanted
    for name in wanted:
        about, default = model.about(name), getattr(model, name)
        expected = about.stands_for if default is None else default
        assert (made[name].help, made[name].default) == (about.help, expected)
        assert made[name].opts == [f"--{name.replace('_', '-')}"]
        assert bool(made[name].secondary_opts) is (expected is True or about.shell_type == bool | None)


@pytest.mark.parametrize(("command", "model"), [("explore", ExploreOptions), ("incident", LoadOptions)])
def test_a_command_refuses_a_word_where_the_model_has_a_number(command: str, model: type[Options]) -> None:
    """Before anything is started, with exit 2; and what is out of bounds, likewise."""
    numbers = [
        one
        for one in typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
        if isinstance(one.default, int | float) or (one.name in model.names() and model.about(one.name).bounds)
    ]
    numbers = [one for one in numbers if not isinstance(one.default, bool)]
    assert len(numbers) > 5
    for one in numbers:
        words = [command, *(["phantom"] if command == "explore" else []), one.opts[0]]
        assert CliRunner().invoke(app, [*words, "many"]).exit_code == 2, one.name
    for name in ("samples", "depth", "jobs") if command == "explore" else ():
        assert CliRunner().invoke(app, ["explore", "phantom", f"--{name}", "0"]).exit_code == 2


def test_what_a_test_may_ask_for_is_told_by_name() -> None:
    """Every option, in the docstring of the fixture's `explore`."""
    assert {name for name in TEST_OPTIONS if f"`{name}`" not in (Zephyr.explore.__doc__ or "")} == set()


def test_help_texts_are_sentences() -> None:
    """With a full stop, and no default in them that the parser shows anyway."""
    for model in (ExploreOptions, LoadOptions):
        for name in model.names():
            assert re.fullmatch(r"\S.*[^.]\.", model.about(name).help), name


def test_an_incident_is_the_model_and_the_panel_begins_with_it() -> None:
    """But for the two with which a reader waits less."""
    assert Incident.names() == LoadOptions.names()
    chosen = Panel(None).incident().to_dict()
    defaults = Incident().to_dict()
    assert {name for name in chosen if chosen[name] != defaults[name]} == {"rate", "seconds"}


BAD: dict[str, tuple[Callable[[], Options], str]] = {
    "no samples": (lambda: ExploreOptions(samples=0), "samples is at least 1, not 0"),
    "a depth alone": (lambda: ExploreOptions(depth=2), "say how many samples as well"),
    "no depth": (lambda: ExploreOptions(depth=0, samples=1), "depth is at least 1, not 0"),
    "no time": (lambda: ExploreOptions(budget=0), "a budget is a positive number of seconds, not 0"),
    "endless time": (lambda: ExploreOptions(budget=float("inf")), "not inf"),
    "no number": (lambda: ExploreOptions(budget=float("nan")), "not nan"),
    "no processes": (lambda: ExploreOptions(jobs=0), "jobs is at least 1, not 0"),
    "too many processes": (lambda: LoadOptions(processes=65), "processes is from 0 to 64, not 65"),
    "too much time": (lambda: LoadOptions(seconds=3_601), "seconds is more than 0 and at most 3,600 seconds, not 3601"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_by_the_model(name: str) -> None:
    """With the rule, and what was given."""
    make, said = BAD[name]
    with pytest.raises(BadInput, match=said):
        make().check()


def test_bounds_are_where_they_are_said_to_be() -> None:
    """The last value that is admitted, and the first that is not, on both sides of every option that has any."""
    for model in (ExploreOptions, LoadOptions):
        for name, bounds in _bounds(model):
            inside = [] if bounds.is_open else [bounds.low]
            outside = [bounds.low] if bounds.is_open else [bounds.low - 1]
            if bounds.high != float("inf"):
                inside.append(bounds.high)
                outside.append(bounds.high + 1)
            assert all(map(bounds.admit, inside)), name
            assert not any(map(bounds.admit, outside)), name


def _bounds(model: type[Options]) -> Iterable[tuple[str, Any]]:
    return ((name, model.about(name).bounds) for name in model.names() if model.about(name).bounds)
