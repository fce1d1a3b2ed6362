"""A counterexample of functions or requests, recorded: each round trip is a step, with its parameters filled in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from zephyr_lab.errors import LabError
from zephyr_lab.explore.counterexample import Counterexample
from zephyr_lab.functions.arguments import name_of
from zephyr_lab.functions.explorer import FunctionExplorer
from zephyr_lab.options import ExploreOptions
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.reset import tables_of
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.share import beginning
from zephyr_lab.share.importable import imported
from zephyr_lab.share.proof import proved
from zephyr_lab.share.recorded import Moment, Recorded, moments_of, spec_of, with_settings


@dataclass(frozen=True)
class _Beginning:
    """SQL that makes what a schedule begins with, SQL that removes it, and its tables."""

    setups: tuple[str, ...]
    teardown: str | None
    tables: tuple[str, ...]


def of_functions(
    explorer: FunctionExplorer,
    runner: Runner,
    options: ExploreOptions,
    found: Counterexample,
    explanation: Sequence[str],
    pg_bin: str | None = None,
) -> Recorded:
    """Records a counterexample of an exploration with these options. Raises BadInput, ServerLost."""
    isolation = IsolationLevel.of(options.isolation)
    parts = [options.setup] if isinstance(options.setup, str) or callable(options.setup) else list(options.setup)
    begins = _begins(explorer.beginning, runner, [one for one in parts if one], pg_bin)
    transcript = observed = found.transcript
    with contextlib.suppress(LabError):  # then nothing is known of the rows between the steps
        observed = explorer.replay(found, observed=True)
    moments = moments_of(transcript, renamed=True)
    name = ", ".join(f"{session} {name_of(one)}" for session, one in explorer.functions.items())
    spec = spec_of(name, moments, transcript.sessions, begins.setups, begins.teardown)
    recorded = Recorded(
        spec=with_settings(spec, isolation, transcript.events),
        isolation=isolation,
        schedule=str(found),
        verdict=found.verdict,
        observed=observed,
        moments=moments,
        tables=begins.tables,
        server=runner.database.facts.version_name,
        ends=tuple(_ends(transcript.events, explorer.functions)),
        explanation=tuple(explanation),
        left_out=tuple(_left_out(moments, transcript.sessions)),
        imported=imported(explorer.functions, parts, options),
    )
    return proved(recorded, runner)


def _begins(
    at_beginning: Callable[[], AbstractContextManager[None]], runner: Runner, parts: Sequence[Any], pg_bin: str | None
) -> _Beginning:
    def execute(sql: str) -> Any:
        return runner.workspace.execute(sql, "what the setup has made")

    with at_beginning():
        if all(isinstance(one, str) for one in parts):
            setups = [*parts, ";\n".join(beginning.sequences(execute))]
        else:
            setups = [beginning.dump(runner.database, pg_bin)]
        setups.append(";\n".join(beginning.analyzed(execute)))
        down = beginning.teardown(execute, ours=runner.database.is_embedded)
        tables = tuple(name for name, _ in tables_of(execute))
    return _Beginning(tuple(one for one in setups if one), down, tables)


def _ends(events: Sequence[Any], functions: Mapping[str, Any]) -> Iterator[str]:
    for event in events:
        if event.is_return:
            what = event.text().removeprefix("-> ")
            said = f"got {what}" if event.failure else f"ended with {what}"
            yield f"{event.session}, {name_of(functions[event.session])}, {said}"


def _left_out(moments: Sequence[Moment], sessions: Sequence[str]) -> Iterator[str]:
    if any(one.is_redis for one in moments):
        yield "the commands of Redis, which stand as comments where they came, and what Redis held in the beginning"
    if any(not one.step and not one.is_redis and one.sql for one in moments):
        yield "data of COPY"
    if silent := [one for one in sessions if all(not moment.step for moment in moments if moment.session == one)]:
        yield f"session {' and '.join(silent)}, which sent nothing to PostgreSQL"
    yield "what the code decides by what it reads: a statement is what was sent in this schedule"
