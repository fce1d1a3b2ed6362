"""`zephyr-lab demo`: one booking that gets lost, as it happens, and how often it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import MINIMAL
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from zephyr_lab.cli.common import err, labs, out
from zephyr_lab.schedule.levels import IsolationLevel

if TYPE_CHECKING:
    from zephyr_lab.explore.exploration import Exploration
    from zephyr_lab.explore.verdict import Outcome
    from zephyr_lab.schedule.transcript import Transcript

CASE = "lost-update"
LEVELS = (IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)
BAR = 20  # characters
NEXT = {
    f"zephyr-lab run {CASE} --schedule 'A A A B B B'": "an order of yours",
    f"zephyr-lab explore {CASE}": "what comes of every order",
    "zephyr-lab cases": "what else goes wrong, and what helps",
    "zephyr-lab course": "the notebooks: pip install 'zephyr-lab[course]'",
}


def demo() -> None:
    """Show a lost update on a real PostgreSQL in five seconds: what two sessions do, what is left, and how often."""
    with err.status("starting a PostgreSQL of its own"), labs.Lab() as lab:
        case = lab.case(CASE)
        verdict = case.verdict()
        explored = {level: case.at(level).explore(shrink=False) for level in LEVELS}
        server = lab.server
    found, right = _booked(verdict.outcome), _booked(next(iter(verdict.serial.values())))
    out.print(
        "[bold]Two orders for the slot at 18:00 come at once.[/] Each session reads what is booked, adds its 5,000 "
        f"roubles, and writes the sum back. {server}, {case.isolation}:\n"
    )
    out.print(Padding(_lanes(verdict.transcript), (0, 0, 1, 2)))
    out.print(f"[bold red]{found:,} is booked.[/] One after the other they make it {right:,}.")
    out.print("An order is lost, and nobody was told.\n")
    every = explored[case.isolation].known.schedules
    out.print(f"[bold]Bad luck?[/] Their steps can come in {every} orders; all of them, run just now:\n")
    out.print(Padding(_levels(explored), (0, 0, 1, 2)))
    out.print("[bold]Next[/]\n")
    for command, what in NEXT.items():
        out.print(f"  [cyan]{escape(command):<{max(map(len, NEXT))}}[/]  [dim]{escape(what)}[/]", soft_wrap=True)


def _booked(outcome: Outcome) -> int:
    (table,) = dict(outcome.final).values()
    return int(table.rows[0][table.columns.index("booked")] or 0)


def _lanes(transcript: Transcript) -> Table:
    """One column per session, time running down; waits and their ends in yellow."""
    table = Table(box=MINIMAL, show_edge=False, border_style="dim", header_style="bold")
    for name in transcript.sessions:
        table.add_column(name)
    for event in transcript.events:
        said = event.text()
        colour = "yellow" if "waits" in said or event.resumed else "green"
        sql = "" if event.resumed else f"{escape(' '.join(event.sql.split()))}\n"
        cell = f"{sql}[{colour}]{escape(said)}[/]"
        table.add_row(*(cell if event.session == name else "" for name in transcript.sessions))
    return table


def _levels(explored: dict[IsolationLevel, Exploration]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for level, found in explored.items():
        counts = found.known
        wrong, refused = (round(BAR * of / counts.schedules) for of in (counts.anomalous, counts.aborted))
        bar = f"[red]{'█' * wrong}[/][yellow]{'▒' * refused}[/][green]{'░' * (BAR - wrong - refused)}[/]"
        said = f"[red]{counts.anomalous} lose an order[/]" if counts.anomalous else "[green]none does[/]"
        told = f", [yellow]{counts.aborted} ask one to retry[/]" if counts.aborted else ""
        table.add_row(str(level), bar, said + told)
    return table
