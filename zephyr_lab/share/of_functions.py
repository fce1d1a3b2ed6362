"""A counterexample of functions or requests, recorded: each round trip is a step, with its parameters filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zephyr_lab.explore.counterexample import Counterexample
from zephyr_lab.functions.arguments import name_of
from zephyr_lab.functions.explorer import FunctionExplorer
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.reset import may_differ, tables_of
from zephyr_lab.schedule.transcript import CRASH, Event, Result
from zephyr_lab.share import beginning
from zephyr_lab.share.handed_out import FilledIn, filled_in, same_values
from zephyr_lab.share.importable import imported
from zephyr_lab.share.proof import proved
from zephyr_lab.share.recorded import Moment, Recorded, moments_of, spec_of, with_settings


@dataclass(frozen=True)
class _Beginning:
    """SQL that makes what a schedule begins with, SQL that removes it, and its tables.

    `filled_in` are the columns that chance or a clock fills in, and `analyzes` SQL for the end of the setup.
    """

    setups: list[str]
    teardown: str | None
    tables: tuple[str, ...]
    filled_in: list[FilledIn]
    analyzes: list[str]


def of_functions(
    explorer: FunctionExplorer, found: Counterexample, explanation: Sequence[str], pg_bin: str | None = None
) -> Recorded:
    """Records a counterexample of an exploration. Raises BadInput, ServerLost, and Nondeterminism as a replay does."""
    options, runner = explorer.options, explorer.runner
    isolation = IsolationLevel.of(options.isolation)
    parts = [options.setup] if isinstance(options.setup, str) or callable(options.setup) else list(options.setup)
    begins = _begins(explorer, [one for one in parts if one], pg_bin)
    # Run once more, since the rows of a setup with a clock in it are those of the runs after it.
    observed = explorer.replay(found, observed=True)
    moments = moments_of(observed, renamed=True)
    name = ", ".join(f"{session} {name_of(one)}" for session, one in explorer.functions.items())
    setups = [*begins.setups, ";\n".join([*same_values(begins.filled_in, observed), *begins.analyzes])]
    spec = spec_of(name, moments, observed.sessions, filter(None, setups), begins.teardown)
    recorded = Recorded(
        spec=with_settings(
            spec, isolation, observed.events, may_set_deadlock_timeout=runner.database.facts.may_set_deadlock_timeout
        ),
        isolation=isolation,
        schedule=str(found),
        verdict=replace(found.verdict, transcript=observed),
        observed=observed,
        moments=moments,
        tables=begins.tables,
        server=runner.database.facts.version_name,
        ends=tuple(_ends(observed.events, explorer.functions)),
        explanation=tuple(explanation),
        left_out=tuple(_left_out(moments, observed.sessions)),
        imported=imported(explorer.functions, parts, options),
    )
    return proved(recorded, runner)


def _begins(explorer: FunctionExplorer, parts: Sequence[Any], pg_bin: str | None) -> _Beginning:
    runner = explorer.runner

    def execute(sql: str) -> list[Result]:
        return runner.workspace.execute(sql, "what the setup has made")

    with explorer.beginning():
        if all(isinstance(one, str) for one in parts) and not may_differ(parts):
            setups = [*parts, ";\n".join(beginning.sequences(execute))]
        else:
            setups = [beginning.dump(runner.database, pg_bin)]
        return _Beginning(
            setups,
            beginning.teardown(execute, ours=runner.database.is_embedded),
            tuple(name for name, _ in tables_of(execute)),
            filled_in(execute),
            beginning.analyzed(execute),
        )


def _ends(events: Sequence[Event], functions: Mapping[str, Any]) -> Iterator[str]:
    for event in events:
        if event.is_return:
            what = event.text().removeprefix("-> ")
            said = f"got {what}" if event.failure else f"ended with {what}"
            yield f"{event.session}, {name_of(functions[event.session])}, {said}"


def _left_out(moments: Sequence[Moment], sessions: Sequence[str]) -> Iterator[str]:
    if any(one.is_redis for one in moments):
        yield "the commands of Redis, which stand as comments where they came, and what Redis held in the beginning"
    if any(one.sql == CRASH for one in moments):
        yield "that a session dies, which stands as a comment where it did"
    if any(not one.step and not one.is_redis and one.sql not in ("", CRASH) for one in moments):
        yield "data of COPY"
    if silent := [one for one in sessions if all(not moment.step for moment in moments if moment.session == one)]:
        yield f"session {' and '.join(silent)}, which sent nothing to PostgreSQL"
    yield "what the code decides by what it reads: a statement is what was sent in this schedule"
