"""`zephyr-lab explore`: every order of a case's steps, or of the round trips of a service's requests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from zephyr_lab.cli.common import (
    ClusterOption,
    ExportOption,
    Exports,
    Format,
    Late,
    executor_of,
    labs,
    progress_bar,
    takes,
)
from zephyr_lab.errors import BadInput
from zephyr_lab.options import CASE_OPTIONS, FUNCTION_OPTIONS, RUN_OPTIONS, ExploreOptions
from zephyr_lab.schedule.levels import IsolationLevel

if TYPE_CHECKING:
    from zephyr_lab.explore.exploration import Exploration

    Show = Callable[[Exploration], None]

specs, descriptions = Late("zephyr_lab.lab.case"), Late("zephyr_lab.wire.description")

# Not for the shell: SQL in the description is the setup, and what is compared is JSON.
_IN_SHELL = tuple(name for name in FUNCTION_OPTIONS if name not in ("setup", "compare"))
# A service runs for this process only, and so do the requests to it.
_ELSEWHERE = {"jobs", "checkpoint", "cluster"}
_OF_CASES = ({"sessions", *CASE_OPTIONS} - {*FUNCTION_OPTIONS}) | _ELSEWHERE
_OF_SERVICES = {"request", "replay", *_IN_SHELL} - {"isolation", *CASE_OPTIONS}


@takes(ExploreOptions, "isolation", *CASE_OPTIONS, *sorted({*_IN_SHELL} - {"isolation", *CASE_OPTIONS}))
def explore(
    context: typer.Context,
    case: Annotated[str | None, typer.Argument(help="A case (`zephyr-lab cases`), or a .spec file.")] = None,
    service: Annotated[
        Path | None, typer.Option(help="Instead of a case: a service, described in this TOML file.")
    ] = None,
    request: Annotated[
        list[str] | None,
        typer.Option(help="A session, and which request or command of the file it is: A=book; one for each session."),
    ] = None,
    replay: Annotated[
        str | None, typer.Option(help='Run this schedule of the requests alone, "A B B A", and judge it.')
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(help="Number of sessions of a case; further ones are copies of the last.")
    ] = None,
    cluster: ClusterOption = None,
    export: ExportOption = None,
    format: Annotated[Format, typer.Option(help="Output format.")] = Format.TEXT,
    **options: Any,
) -> None:
    """Run every schedule that the server admits, and judge each by the serial ones.

    Of a case, or of requests to a service of yours, in any language:

    zephyr-lab explore --service shop.toml --request A=book --request B=book --isolation "read committed"

    A step is a message to the server: races inside one statement cannot be seen. Ctrl-C prints what was found so far.

    Requests are reduced only where --reduction is said: what they share in the service's memory is not seen.
    """
    asked = ExploreOptions(**options).check()
    IsolationLevel.of(asked.isolation)
    exports = Exports(export)
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    if service is not None:
        if case is not None:
            raise BadInput(f"a case ({case}) or a service ({service}) is explored: leave one of them out")
        _check(given & _OF_CASES, "a case", "a service")
        _explore_service(service, request or [], replay, asked, "reduction" in given, format, exports)
    elif case is not None:
        _check(given & _OF_SERVICES, "a service", "a case")
        _explore_case(case, sessions, asked, cluster, format, exports)
    else:
        raise BadInput(
            "explore what? A case (`zephyr-lab cases` lists them), or requests to a service of yours: "
            "--service shop.toml --request A=book --request B=book"
        )


def _check(wrong: set[str], whose: str, what: str) -> None:
    if wrong:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(wrong))
        raise BadInput(f"{names}: for the exploration of {whose}, not of {what}")


def _explore_case(
    name: str, sessions: int | None, asked: ExploreOptions, cluster: str | None, format: Format, exports: Exports
) -> None:
    case = specs.load_case(name)
    if sessions is not None:
        case = case.with_sessions(sessions)
    with executor_of(cluster) as executor, labs.Lab() as lab, _shown(asked) as show:
        about = asked.part(CASE_OPTIONS)
        found = lab.case(case, asked.isolation).explore(**about, executor=executor, on_progress=show)
        print(json.dumps(found.to_dict(), indent=1) if format is Format.JSON else found)
        exports.write(found.counterexample)


def _explore_service(
    file: Path,
    requests: Sequence[str],
    replay: str | None,
    asked: ExploreOptions,
    reduces: bool,
    format: Format,
    exports: Exports,
) -> None:
    description = descriptions.Description.read(file)
    wanted = _by_session(requests, description.names)
    description.check(wanted.values())
    if exports and (replay is not None or not asked.shrink):
        raise BadInput("--export writes what a search has found: leave out --replay and --no-shrink")
    given = {"setup": description.setup, "reduction": asked.reduction if reduces else None}
    given["invariant"] = asked.invariant or description.invariant
    found: Exploration | None = None
    with labs.Lab() as lab:
        sessions = description.sessions(lab, wanted)
        if replay is not None:
            about = {**asked.part(RUN_OPTIONS), **{name: one for name, one in given.items() if name in RUN_OPTIONS}}
            verdict = lab.replay(sessions, replay, **about)
            said = verdict.to_dict()
            text = f"{verdict.transcript}\n\n{verdict}"
        else:
            with _shown(asked) as show:
                found = explored = lab.explore(sessions, **{**asked.part(_IN_SHELL), **given}, on_progress=show)
            said, shortest = explored.to_dict(), explored.counterexample
            text = f"{found}\n\n{shortest.transcript}" if shortest else str(found)
        print(json.dumps(said, indent=1) if format is Format.JSON else text)
        if found:
            exports.write(found.counterexample)


def _by_session(requests: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Which request each session is. Raises BadInput."""
    wanted: dict[str, str] = {}
    for text in requests:
        session, equals, name = text.partition("=")
        if not (equals and session and name):
            raise BadInput(f"a request is a session and a name, as in A=book, not {text!r}")
        if session in wanted:
            raise BadInput(f"session {session} is {wanted[session]!r} and {name!r}: give each a name of its own")
        wanted[session] = name
    if not wanted:
        raise BadInput(f"say which requests race: --request A=NAME --request B=NAME; there are: {', '.join(names)}")
    return wanted


@contextlib.contextmanager
def _shown(asked: ExploreOptions) -> Iterator[Show]:
    """What shows how far an exploration is."""
    columns = (*Progress.get_default_columns()[:2], TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with progress_bar(*columns) as progress:
        task = progress.add_task("exploring", total=asked.samples, said="")
        by_class = asked.reduction and asked.samples is None

        def show(state: Exploration) -> None:
            stands = f", for {state.represents:,}" if state.represents and by_class else ""
            said = f"{state.schedules:,} schedules{stands}, {state.anomalous:,} anomalous"
            progress.update(task, completed=state.schedules, said=said)

        yield show
