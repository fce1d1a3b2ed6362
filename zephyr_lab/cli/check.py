"""`zephyr-lab check` and `zephyr-lab record`: histories, judged and made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zephyr_lab.cli.common import err, labs
from zephyr_lab.cli.histories import LEVEL, CheckFormat, judge
from zephyr_lab.schedule.levels import IsolationLevel

WorkloadOption = Annotated[
    str | None,
    typer.Option(
        help="list-append, rw-register or predicate (default: told by the operations); of Jepsen's other tests: "
        "bank, set-full, counter, linearizable-register, long-fork, monotonic."
    ),
]
FragmentOption = Annotated[
    bool | None,
    typer.Option(
        help="What nobody wrote was written outside the history, or is a violation; default: the latter, but for "
        "registers that the history writes."
    ),
]
JobsOption = Annotated[int, typer.Option(min=1, help="Number of processes, for several histories.")]
RoundsOption = Annotated[
    int, typer.Option(min=1, help="How often orders of writes are tried before the answer is: cannot tell.")
]
MappingOption = Annotated[
    Path | None,
    typer.Option(
        help="A log in CSV or JSON lines, by this TOML file: transaction, session, kind, key, value, words ..."
    ),
]
FormatOption = Annotated[
    CheckFormat, typer.Option(help="Output format; svg draws the worst cycle, html is a page of the anomalies.")
]


def check(
    histories: Annotated[
        list[Path],
        typer.Argument(help="Histories: JSON lines, Jepsen's EDN, r(k,v,s,t), dbcop, Cobra; .gz is unpacked."),
    ],
    workload: WorkloadOption = None,
    level: Annotated[
        str, typer.Option(help="Elle's names: read-committed, snapshot-isolation, serializable ...")
    ] = LEVEL,
    initial: Annotated[int | None, typer.Option(help="Initial value of registers, besides null.")] = None,
    wfr_keys: Annotated[bool, typer.Option("--wfr-keys", help="Registers: assume that writes follow reads.")] = False,
    sequential_keys: Annotated[
        bool, typer.Option("--sequential-keys", help="Registers: assume that each is sequential.")
    ] = False,
    linearizable_keys: Annotated[
        bool, typer.Option("--linearizable-keys", help="Registers: assume that each is linearizable.")
    ] = False,
    fragment: FragmentOption = None,
    negative_balances: Annotated[
        bool, typer.Option("--negative-balances", help="Bank: an account may have less than nothing.")
    ] = False,
    mapping: MappingOption = None,
    jobs: JobsOption = 1,
    rounds: RoundsOption = 400,
    format: FormatOption = CheckFormat.TEXT,
) -> None:
    """Say whether a history of transactions satisfies an isolation level, and show the cycle that proves it does not.

    Exit 0 valid, 1 violated, 2 cannot tell or bad input. With several histories, the worst of these.
    """
    assumed = {"wfr": wfr_keys, "sequential": sequential_keys, "linearizable": linearizable_keys, "fragment": fragment}
    reading = {"workload": workload, "initial": initial, "mapped": mapping, "rounds": rounds, "jobs": jobs}
    reading["negative_balances"] = negative_balances
    code = judge(histories, level, format, reading, assumed)
    if code:
        raise typer.Exit(code)


def record(
    file: Annotated[Path, typer.Argument(help="Write the history to this file, as JSON lines.")],
    workload: Annotated[str, typer.Option(help="list-append or rw-register.")] = "list-append",
    isolation: Annotated[
        str, typer.Option(help="One of PostgreSQL's four isolation levels, case-insensitive.")
    ] = "serializable",
    sessions: Annotated[int, typer.Option(min=1, help="Number of concurrent sessions.")] = 4,
    seconds: Annotated[float | None, typer.Option(help="Stop after this many seconds.")] = None,
    transactions: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many transactions (default 200).")
    ] = None,
    keys: Annotated[int, typer.Option(min=1, help="Number of keys.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the random transactions.")] = 0,
) -> None:
    """Record random transactions on the lab's PostgreSQL as a history for `zephyr-lab check`."""
    level = IsolationLevel.of(isolation)
    with labs.Lab() as lab:
        recorded = lab.record(
            workload, level, sessions=sessions, seconds=seconds, transactions=transactions, keys=keys, seed=seed
        )
    recorded.write(file)
    err.print(f"{recorded}, in {file}; now: zephyr-lab check {file}", soft_wrap=True)
