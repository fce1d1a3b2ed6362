"""Output of all commands, and late imports."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn

from zephyr_lab.errors import BadInput
from zephyr_lab.options import Options

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from zephyr_lab.explore.counterexample import Counterexample


class Late:
    """A module imported on first use: `check` needs no server, and starts in half the time."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


labs, exporting = Late("zephyr_lab.lab"), Late("zephyr_lab.share.export")
clusters = Late("zephyr_lab.workers.cluster")
ExportOption = Annotated[
    list[Path] | None, typer.Option(help="Write the schedule to this file: .spec, .sql, .py or .html; can be repeated.")
]
Command = TypeVar("Command", bound=Callable[..., None])

ClusterOption = Annotated[
    str | None,
    typer.Option(help="Have the work done by a Dask cluster: the address of its scheduler, tcp://host:8786."),
]

out, err = Console(highlight=False), Console(stderr=True, highlight=False)


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


class Exports:
    """Files that a schedule is to be written to. Raises BadInput for one that cannot be, before anything is run."""

    def __init__(self, files: Sequence[Path] | None) -> None:
        self._files = files or ()
        for file in self._files:
            exporting.check(file)

    def __bool__(self) -> bool:
        return bool(self._files)

    def write(self, found: Counterexample | None) -> None:
        """Writes those that can be, and says so. Raises BadInput if one cannot be."""
        if found is None:
            told = [f"not exported: {file}: no schedule was anomalous" for file in self._files]
        else:
            told = found.export_all(self._files)
        for line in told:
            err.print(line, soft_wrap=True)
        if found and any(line.startswith("not") for line in told):
            raise BadInput("not all files could be written, for the reasons above")


@contextlib.contextmanager
def executor_of(cluster: str | None) -> Iterator[Executor | None]:
    """The executor behind the address of a Dask scheduler; None without one. Raises MissingExtra, ServerUnavailable."""
    if cluster is None:
        yield None
        return
    with clusters.connected(cluster) as (executor, dashboard):
        err.print(f"dashboard: {dashboard}", soft_wrap=True)
        yield executor


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A progress bar on a terminal, removed at the end."""
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def takes(model: type[Options], *names: str) -> Callable[[Command], Command]:
    """Replaces a command's `**options` by an option for each of a model's fields, or those named."""
    types = get_type_hints(model)

    def made(name: str) -> inspect.Parameter:
        about, default = model.about(name), getattr(model, name)
        default = about.stands_for if default is None else default
        words = [f"--{name.replace('_', '-')}"] if default is False else []  # without its --no-
        least = about.bounds.low if about.bounds and not about.bounds.is_open and about.bounds.low > 0 else None
        option = typer.Option(*words, help=about.help, min=least)
        kind: Any = Annotated[about.shell_type or types[name], option]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        written = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name])
            for one in inspect.signature(command).parameters.values()
            if one.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        arguments = [one for one in written if one.default is inspect.Parameter.empty]
        options = [made(name) for name in names or model.names()]
        parameters = [*arguments, *options, *(one for one in written if one not in arguments)]
        command.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate
