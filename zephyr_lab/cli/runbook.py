"""`zephyr-lab runbook` and `zephyr-lab doctor`: the state of a server, and of the lab's installation."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.markup import escape

from zephyr_lab.cli.common import Format, Late, err, out
from zephyr_lab.errors import BadInput, LabError

databases = Late("zephyr_lab.servers.database")


def doctor() -> None:
    """Show what was found, what will be used, and what to do if something is missing. Exit 1 if the lab cannot run."""
    from zephyr_lab.servers.doctor import diagnose

    marks, good, findings = {True: "ok", False: "no", None: ""}, True, []
    with err.status("looking"):
        for finding in diagnose():
            findings.append((marks[finding.good], finding.subject, finding.said))
            good = good and finding.good is not False
    width = max(len(subject) for _, subject, _ in findings)
    for mark, subject, said in findings:
        colour = {"ok": "green", "no": "red"}.get(mark, "default")
        # A path is not wrapped.
        out.print(f"[{colour}]{mark:<2}[/]  {subject:<{width}}  {escape(said)}", soft_wrap=True)
    out.print("[green]The lab can run." if good else "[red]The lab cannot run: see the lines marked `no`.")
    if not good:
        raise typer.Exit(1)


def runbook(
    question: Annotated[str | None, typer.Argument(help="A question; default: list the questions.")] = None,
    dsn: Annotated[str | None, typer.Option(help="The server; default: ZEPHYR_LAB_PG_DSN, then PGHOST etc.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Ask every question.")] = False,
    table: Annotated[str, typer.Option(help="The table in question, as written in SQL.")] = "orders",
    role: Annotated[
        str | None, typer.Option(help="The role whose rights are asked for; default: the role that asks.")
    ] = None,
    months: Annotated[int, typer.Option(min=0, help="Number of months after this one that need a partition.")] = 2,
    older_than: Annotated[str, typer.Option(help="Age from which a transaction counts as long.")] = "1 minute",
    format: Annotated[Format, typer.Option(help="Output format.")] = Format.TEXT,
) -> None:
    """Ask a live PostgreSQL about partitions, rights, isolation levels, locks, and who blocks whom.

    Safe on production: every question has a read-only transaction of its own, with a limit of 10 s for its answer and
    of 2 s for any lock, takes no lock stronger than ACCESS SHARE, and needs no superuser. Exit 1 if an answer is
    missing.
    """
    from zephyr_lab.runbook import Runbook, report

    if question is None and not all:
        print(report.listing())
        return
    if question is not None and all:
        raise BadInput(f"ask {question}, or --all, not both")
    with databases.connect(dsn or os.environ.get("ZEPHYR_LAB_PG_DSN", "")) as connection:
        book = Runbook(connection, table=table, role=role, months=months, older_than=older_than)
        answers = book.answer_all() if question is None else {question: book.answer(question)}
    print(report.to_json(answers) if format is Format.JSON else report.to_text(answers))
    if any(isinstance(answer, LabError) for answer in answers.values()):
        raise typer.Exit(1)
