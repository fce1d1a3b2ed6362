"""All commands, as one application."""

from __future__ import annotations

from typing import Annotated

import typer

from zephyr_lab.cli import check, course, demo, explore, hunt, load, runbook, schedules, service

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
