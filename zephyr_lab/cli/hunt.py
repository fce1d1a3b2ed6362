"""`zephyr-lab hunt`: which pairs of functions, or of a service's requests, race."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import TextColumn, TimeElapsedColumn

from zephyr_lab.cli.common import ClusterOption, Late, err, executor_of, labs, progress_bar, takes
from zephyr_lab.errors import BadInput
from zephyr_lab.options import HUNT_OPTIONS, ExploreOptions
from zephyr_lab.schedule.levels import IsolationLevel

if TYPE_CHECKING:
    from zephyr_lab.hunt.report import Hunt
    from zephyr_lab.wire.description import Description

baselines, descriptions = Late("zephyr_lab.hunt.baseline"), Late("zephyr_lab.wire.description")
functions = Late("zephyr_lab.hunt.named")

# Not for the shell: the setup has an option of its own here, and what is compared is JSON.
_IN_SHELL = tuple(name for name in HUNT_OPTIONS if name not in ("setup", "compare"))


class Form(StrEnum):
    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    HTML = "html"


Operations = Annotated[
    list[str] | None,
    typer.Argument(help="Functions, as in shop.py:book,cancel; with --service requests of it, if not all."),
]
Service = Annotated[Path | None, typer.Option(help="A service, described in this TOML file.")]
Before = Annotated[
    list[str] | None,
    typer.Option(help="What every schedule begins with: a file of SQL, SQL, or a function, as in shop.py:make."),
]
Triples = Annotated[bool, typer.Option("--triples", help="Hunt three at a time, too.")]
Output = Annotated[Path | None, typer.Option(help="Write to this file instead.")]
Export = Annotated[
    Path | None, typer.Option(help="Write each race into this folder, for others: .html, .spec, .sql, .py.")
]
Histories = Annotated[
    Path | None,
    typer.Option("--history", help="Write each race into this folder as a history, for `check` and Elle: .edn."),
]
Known = Annotated[Path | None, typer.Option(help="Races that are known, in this file, are no failure.")]
Writes = Annotated[bool, typer.Option("--write-baseline", help="Write what was found to the baseline.")]
Strict = Annotated[bool, typer.Option("--strict", help="What was not decided is a failure, too.")]


@takes(ExploreOptions, *_IN_SHELL, "budget", "jobs")
def hunt(
    context: typer.Context,
    operations: Operations = None,
    service: Service = None,
    setup: Before = None,
    cluster: ClusterOption = None,
    triples: Triples = False,
    format: Annotated[Form, typer.Option(help="Output format.")] = Form.TEXT,
    output: Output = None,
    export: Export = None,
    history: Histories = None,
    baseline: Known = None,
    write_baseline: Writes = False,
    strict: Strict = False,
    **options: Any,
) -> None:
    """Find the pairs that race, each with the order that shows it.

    Of functions, which take a connection, or of the requests to a service of yours, in any language:

    zephyr-lab hunt shop.py:book,cancel --setup schema.sql --budget 60 --jobs 2

    zephyr-lab hunt --service shop.toml --format sarif --output races.sarif --baseline races.json

    Exit code 0: no race that is not in the baseline; 1: there is one; 2: it could not be run, or nothing was hunted.
    """
    source = context.get_parameter_source("reduction")
    asked = _checked(options, reduces=source is not None and source.name == "COMMANDLINE")
    if write_baseline and baseline is None:
        raise BadInput("which file is the baseline to be written to? --baseline races.json --write-baseline")
    for one in (output, baseline if write_baseline else None):
        if one and not one.absolute().parent.is_dir():
            raise BadInput(f"cannot write {one}: there is no folder {one.parent}; make it first")
    known = baselines.Baseline.read(baseline) if baseline and not write_baseline else baselines.Baseline()
    about = {**asked, "triples": triples, "export": export, "history": history}
    found = _hunt(service, operations or [], setup or [], cluster, about)
    _write(found, format, output)
    if write_baseline:
        baselines.Baseline.of(found).write(baseline)
        known = baselines.Baseline.of(found)
    for one in known.stale(found):
        err.print(f"in the baseline, and not found: {one.text()}", markup=False, soft_wrap=True)
    if code := _exit_code(found, bool(known.new(found)), strict):
        raise typer.Exit(code)


def _checked(options: Mapping[str, Any], *, reduces: bool) -> dict[str, Any]:
    """Options of a hunt; without `reduces`, reduction is left to the lab. Raises BadInput."""
    asked = ExploreOptions(**options).check()
    IsolationLevel.of(asked.isolation)
    return {**asked.part([*_IN_SHELL, "budget", "jobs"]), **({} if reduces else {"reduction": None})}


def _exit_code(found: Hunt, has_new: bool, strict: bool) -> int:
    if has_new or (strict and (found.undecided or found.unhunted)):
        return 1
    return 2 if found.interrupted or not found.decisions else 0


def _hunt(
    service: Path | None, names: list[str], setup: list[str], cluster: str | None, about: Mapping[str, Any]
) -> Hunt:
    if service is None:
        return _hunt_functions(names, setup, cluster, about)
    if cluster is not None:
        raise BadInput("--cluster: a service runs for this process only, and so do the requests to it: leave it out")
    return _hunt_service(service, names, setup, about)


def _hunt_functions(targets: list[str], setup: list[str], cluster: str | None, about: Mapping[str, Any]) -> Hunt:
    if not targets:
        raise BadInput(
            "hunt among what? Functions, as in `zephyr-lab hunt shop.py:book,cancel --setup schema.sql`, or the "
            "requests to a service: --service shop.toml"
        )
    operations, before = functions.functions_named(targets), functions.setup_of(setup)
    with executor_of(cluster) as executor, labs.Lab() as lab, _shown() as show:
        if executor:
            functions.send_code_of([*operations.values(), *before])
        found: Hunt = lab.hunt(operations, setup=before, on_progress=show, executor=executor, **about)
    return found


def _hunt_service(file: Path, names: list[str], setup: list[str], about: Mapping[str, Any]) -> Hunt:
    description: Description = descriptions.Description.read(file)
    description.check(names)
    before = [*([description.setup] if isinstance(description.setup, str) else description.setup)]
    before += functions.setup_of(setup)
    invariant = about["invariant"] or description.invariant
    with labs.Lab() as lab, _shown() as show:
        sessions = description.sessions(lab, {name: name for name in names or description.names})
        found: Hunt = lab.hunt(sessions, on_progress=show, **{**about, "setup": before, "invariant": invariant})
    for name, one in found.operations.items():
        found.operations[name] = replace(one, place=one.place or _place(file, name))
    return found


def _place(file: Path, name: str) -> str:
    """The line of a description at which a request, or a command, begins."""
    begins = re.compile(
        rf"""\s*(\[(requests|commands)\.["']?{re.escape(name)}["']?\]|["']?{re.escape(name)}["']?\s*=)"""
    )
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((f"{file}:{number}" for number, line in enumerate(lines, start=1) if begins.match(line)), "")


def _write(found: Hunt, form: Form, output: Path | None) -> None:
    match form:
        case Form.TEXT:
            text = str(found)
        case Form.HTML:
            text = found.to_html()
        case _:
            text = json.dumps(found.to_dict() if form is Form.JSON else found.to_sarif(), indent=1)
    if output is None:
        print(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[Hunt], None]]:
    """What shows how far a hunt is."""
    with progress_bar(TextColumn("hunting {task.fields[said]}"), TimeElapsedColumn()) as progress:
        task = progress.add_task("hunting", total=None, said="")

        def show(state: Hunt) -> None:
            counts = ", ".join(f"{number} {kind}" for kind, number in state.counts().items() if number)
            progress.update(task, said=counts)

        yield show
