"""The initial state of every schedule of functions, in PostgreSQL and in Redis.

After SQL, and a function that is run `once`, rows are restored; any other function is run before every schedule.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from zephyr_lab.errors import BadInput, LabError, SetupFailed
from zephyr_lab.functions.arguments import Kind, is_async, name_of, parameters_of
from zephyr_lab.functions.beside import Beside
from zephyr_lab.functions.constants import constants_of
from zephyr_lab.functions.once import Once
from zephyr_lab.functions.outside import seen_in
from zephyr_lab.functions.providers import Providers
from zephyr_lab.functions.remains import Execute, Remains, here
from zephyr_lab.functions.scheduled import Elsewhere
from zephyr_lab.functions.sequences import Sequence as Spread
from zephyr_lab.functions.sequences import spread
from zephyr_lab.functions.turn import on_behalf_of
from zephyr_lab.schedule.reset import may_change_more_than_rows
from zephyr_lab.schedule.transcript import Event, Table
from zephyr_lab.servers.database import Database

if TYPE_CHECKING:
    from zephyr_lab.functions.content import Content, Kept

Part = str | Callable[..., Any]
Setup = Part | Sequence[Part]

_numbers = itertools.count(1)
_ANYTHING = "do ''"  # stands for what is said where nobody listens

# With rows, and never analysed. Not an empty table: once analysed, the planner would expect it to stay empty.
_UNANALYSED = """
select format('%I.%I', nspname, relname) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where relkind in ('r', 'm') and relpersistence <> 't' and pg_relation_size(pg_class.oid) > 0
  and (reltuples < 0 or reltuples = 0 and current_setting('server_version_num')::int < 140000)
  and (nspname = current_schema or {ours} and nspname not like 'pg\\_%' and nspname <> 'information_schema'
       and nspname not like 'zephyr\\_lab\\_%')
order by 1"""


class FunctionSetup:
    """Runs setups that are functions, and restores Redis before each schedule.

    `setups` represent, as setups of a spec, those whose rows are restored: SQL, and a unique comment for what follows
    it; `outside` is what functions used that is in no outcome. `execute` runs SQL outside of all sessions. `elsewhere`
    runs those that connect as its sessions do. Raises BadInput for what cannot be a setup.
    """

    def __init__(
        self, setup: Setup, providers: Providers, content: Content | None, database: Database, execute: Execute,
        functions: Iterable[Callable[..., Any]] = (), elsewhere: Elsewhere | None = None,
    ) -> None:  # fmt: skip
        parts = [one for one in ([setup] if isinstance(setup, str) or callable(setup) else list(setup)) if one]
        self.parts = parts
        self._again = list(itertools.dropwhile(lambda one: isinstance(one, str | Once), parts))
        if late := [one for one in self._again if isinstance(one, Once)]:
            raise BadInput(
                f"setup {name_of(late[0])} is to be run once, and comes after {name_of(_first_function(self._again))}, "
                "which is run before every schedule: put those first that are run once"
            )
        lead = parts[: len(parts) - len(self._again)]
        sql = list(itertools.takewhile(lambda one: isinstance(one, str), lead))
        self._once = lead[len(sql) :]
        self.setups: tuple[str, ...] = (*map(str, sql), f"-- functions, {next(_numbers)}")
        self._providers, self._database, self._execute = providers, database, execute
        self.content, self._functions, self._elsewhere = content, list(functions), elsewhere
        self.sequences: tuple[Spread, ...] | None = None  # ranges of `sequences.spread`
        self._remains = Remains(execute, ours=database.is_embedded)
        self._kept: list[Kept] = []  # Redis after setups that run once
        self._begins: list[Kept] | None = None  # Redis before the first schedule
        self._connection: psycopg.Connection[Any] | None = None
        self.outside: set[str] = set()

    # -- for the runner

    @property
    def repeats(self) -> bool:
        return bool(self._again)

    @property
    def is_rows_only(self) -> bool:
        return not self._remains.others

    def clear(self) -> None:
        self._remains.drop()

    def prepare(self) -> None:
        if self.content:
            self.content.clear()
        self._run_all(self._once)
        if not self._again:
            self._is_made()
        elif self._once:
            self._remains.note()
        if self.content:
            self._kept = self.content.keep()

    def repeat(self) -> bool:
        """Runs setups before a schedule; returns whether more than rows may have changed. Raises SetupFailed."""
        if self.content:
            self.content.put(self._kept)
        if not self._again:
            return False
        said = self._run_all(self._again)
        self._is_made()
        if self.content:
            if self._begins is None:
                self._begins = self.content.keep()
            else:
                self.content.put(self._begins)
        return any(map(may_change_more_than_rows, said))

    def expiring(self) -> list[str]:
        """The keys of Redis that expire some day; their time stands still until `expire`."""
        return self.content.expiring() if self.content else []

    def expire(self, key: str) -> None:
        """Has a key expire now, if it is one that expires."""
        if self.content:
            self.content.expire(key)

    def _is_made(self) -> None:
        """Called when all setups have run."""
        self._analyze()
        if self.sequences != ():  # a setup that created none before creates none again
            self.sequences = spread(self._execute, here(self._database.is_embedded), self.sequences or (), self._texts)
        self._remains.note()
        self._remains.keep_definitions()

    def _texts(self) -> list[str]:
        """Texts that may hold numbers: of the setup, of Redis, and of the functions' source."""
        tables = self.content.tables().values() if self.content else ()
        said = [one for one in self.parts if isinstance(one, str)]
        said += [text for one in self._functions for text in constants_of(one)]
        return said + [f"{key} {value}" for table in tables for key, value in table.rows]

    def _analyze(self) -> None:
        """Without statistics the planner guesses, and SERIALIZABLE locks what the plan reads."""
        found = self._execute(_UNANALYSED.format(ours=self._database.is_embedded))[0].rows
        if found:
            self._execute(f"analyze {', '.join(str(table) for (table,) in found)}")

    # -- running

    def _run_all(self, parts: Iterable[Part]) -> list[str]:
        """Runs them, each in a thread of its own; returns the statements that they sent to PostgreSQL."""
        said: list[str] = []
        for part in parts:
            name = "SQL" if isinstance(part, str) else name_of(part)
            beside = Beside(f"setup {name}", self._database, self.content)
            try:
                if self._elsewhere and not isinstance(part, str) and self._elsewhere.takes(unwrapped(part)):
                    self._elsewhere.prepare(unwrapped(part))
                    said.append(_ANYTHING)
                else:
                    beside.run(partial(self._run, part))
            except Exception as error:
                told = str(error) if error is beside.misuse else f"{beside.title}: {type(error).__name__}: {error}"
                if callable(part) and parameters_of(unwrapped(part)).guessed:
                    told += ". It does not say what it takes, and was given a connection: pass a lambda"
                told += self._elsewhere.troubles() if self._elsewhere else ""
                raise SetupFailed(told) from error
            said += beside.said
        return said

    def _run(self, part: Part) -> None:
        if isinstance(part, str):
            self._give(Kind.CONNECTION).execute(part)
            return
        setup = unwrapped(part)
        parameters = parameters_of(setup)
        if is_async(setup):
            self._providers.loops.run(self._run_async(setup))
            return
        give = {kind: self._give(kind) for kind in parameters.kinds()}
        setup(*(give[kind] for kind in parameters.positional), **{k: give[v] for k, v in parameters.named.items()})

    def _give(self, kind: Kind) -> Any:
        """An engine leads to plain connections, too: the thread is no session's."""
        match kind:
            case Kind.CONNECTION:
                if self._connection is None or self._connection.closed:
                    connection = self._connection = on_behalf_of(None, self._database.connect)("setup")  # is kept
                    connection.prepare_threshold = None
                return self._connection
            case Kind.REDIS:
                return self._providers.redis
            case Kind.ENGINE:
                return self._providers.engine
        raise SetupFailed(f"a setup is given a connection, a Redis client or an engine, not {kind}")

    async def _run_async(self, setup: Callable[..., Any]) -> None:
        parameters = parameters_of(setup)
        give: dict[Kind, Any] = {}
        try:
            for kind in parameters.kinds():
                if kind is Kind.CONNECTION:
                    give[kind] = await self._database.connect_async("setup")
                elif kind is Kind.REDIS:
                    give[kind] = self._providers.async_redis()
                elif kind is Kind.ENGINE:
                    give[kind] = self._providers.async_engine
                else:
                    raise SetupFailed(f"a setup is given a connection, a Redis client or an engine, not {kind}")
            await setup(*(give[k] for k in parameters.positional), **{k: give[v] for k, v in parameters.named.items()})
        finally:
            if Kind.CONNECTION in give:
                await give[Kind.CONNECTION].close()

    # -- after a schedule

    def remains(self, events: Iterable[Event]) -> dict[str, Table]:
        """What exists beside the rows of the schema's tables, as further tables."""
        statements = [event.sql for event in events]
        self.outside |= seen_in(statements)
        return {**self._remains.tables(statements), **(self.content.tables() if self.content else {})}

    def handed_out(self) -> dict[str, int]:
        """The last number of each sequence of `sequences`; 0 for a dropped one."""
        if not self.sequences:
            return {}
        asked = ", ".join(f"pg_sequence_last_value(to_regclass('{one.quoted}'))" for one in self.sequences)
        (told,) = self._execute(f"select {asked}")
        return {one.name: int(last or 0) for one, last in zip(self.sequences, told.rows[0], strict=True)}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        with contextlib.suppress(LabError):  # the exploration's own error has been raised
            self._remains.drop()
        if self.content:
            self.content.close()


def unwrapped(part: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, without `Once`."""
    return part.func if isinstance(part, Once) else part


def _first_function(parts: Sequence[Part]) -> Callable[..., Any]:
    return next(one for one in parts if callable(one))
