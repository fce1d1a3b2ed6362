"""`zephyr-lab ...`: the lab's verbs for the shell. Thin: each command calls the API and prints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zephyr_lab.cli import check, course, demo, explore, hunt, load, runbook, schedules, service
from zephyr_lab.cli.common import err
from zephyr_lab.errors import LabError
from zephyr_lab.extras import needed_by

HELP = """Transaction isolation, understood by running it on a real PostgreSQL.

A step is a message to the server: races inside one statement cannot be scheduled from outside."""

# Locals in a trace would show DSNs.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=HELP)

for command in (
    demo.demo,
    course.course,
    course.samples,
    schedules.cases,
    schedules.run,
    explore.explore,
    hunt.hunt,
    schedules.spec,
    schedules.hermitage,
    schedules.matrix,
    check.check,
    check.record,
    runbook.doctor,
    runbook.runbook,
    service.strategies,
    service.reconcile,
    service.serve,
    load.incident,
    load.claims,
    course.notebooks,
    course.site,
    course.store,
    course.questions,
):
    app.command()(command)
app.add_typer(service.partitions, name="partitions")


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        print(f"zephyr-lab {metadata.version('zephyr-lab')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point: prints the lab's own errors in one line, without a traceback."""
    try:
        with needed_by(" ".join(["zephyr-lab", *sys.argv[1:2]])):
            app()
    except LabError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
