"""`zephyr-lab ...`: the lab's verbs for the shell. Thin: each command calls the API and prints."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from zephyr_lab import cli_check, cli_course, cli_demo, cli_load, cli_runbook, cli_schedules, cli_service
from zephyr_lab.cli_common import err
from zephyr_lab.errors import LabError
from zephyr_lab.extras import needed_by

HELP = """Transaction isolation, understood by running it on a real PostgreSQL.

A step is a message to the server: races inside one statement cannot be scheduled from outside."""

# Locals in a trace would show DSNs.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=HELP)

for command in (
    cli_demo.demo, cli_course.course, cli_course.samples, cli_schedules.cases, cli_schedules.run,
    cli_schedules.explore, cli_schedules.spec, cli_schedules.hermitage, cli_schedules.matrix, cli_check.check,
    cli_check.record, cli_runbook.doctor, cli_runbook.runbook, cli_service.strategies, cli_service.reconcile,
    cli_service.serve, cli_load.incident, cli_load.claims, cli_course.notebooks, cli_course.site, cli_course.store,
    cli_course.questions,
):  # fmt: skip
    app.command()(command)
app.add_typer(cli_service.partitions, name="partitions")


def _version(asked: bool) -> None:
    if asked:
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
    """The entry point: the lab's own errors are told in a line, without a trace."""
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


if __name__ == "__main__":
    main()
