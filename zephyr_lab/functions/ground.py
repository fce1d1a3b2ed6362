"""What every schedule of functions begins with: what the setup has made, in PostgreSQL and in Redis."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from zephyr_lab.errors import SetupFailed
from zephyr_lab.functions.arguments import Kind, is_async, name_of, parameters_of
from zephyr_lab.functions.beside import Beside
from zephyr_lab.functions.supplies import Supplies
from zephyr_lab.functions.surrogates import Sequence
from zephyr_lab.functions.turn import on_behalf_of
from zephyr_lab.schedule.transcript import Table
from zephyr_lab.servers.database import Database

if TYPE_CHECKING:
    from zephyr_lab.functions.keyvalue import Content

_numbers = itertools.count(1)


class FunctionGround:
    """Runs a setup that is a function, and puts Redis back before each schedule.

    `key` stands for such a setup among the setups of a spec, which are SQL: a comment, another one for each.
    """

    def __init__(
        self, setup: Callable[..., Any] | None, supplies: Supplies, content: Content | None, database: Database
    ) -> None:
        self._setup, self._supplies, self._database = setup, supplies, database
        self.content = content
        self.sequences: tuple[Sequence, ...] | None = None  # as `surrogates.spread` has left them
        self.key = f"-- a function, {next(_numbers)}"
        self._connection: psycopg.Connection[Any] | None = None

    def prepare(self) -> None:
        """In an empty schema. Raises SetupFailed."""
        if self.content:
            self.content.clear()
        if self._setup:
            beside = Beside(f"setup {name_of(self._setup)}", self._database, self.content)
            try:
                beside.run(partial(self._run, self._setup))
            except Exception as error:
                told = str(error) if error is beside.misuse else f"{beside.title}: {type(error).__name__}: {error}"
                raise SetupFailed(told) from error
        if self.content:
            self.content.keep()

    def _run(self, setup: Callable[..., Any]) -> None:
        parameters = parameters_of(setup)
        if is_async(setup):
            self._supplies.loops.run(self._run_async(setup))
            return
        give = {kind: self._give(kind) for kind in parameters.kinds()}
        setup(*(give[kind] for kind in parameters.positional), **{k: give[v] for k, v in parameters.named.items()})

    def _give(self, kind: Kind) -> Any:
        """What is not a connection or Redis leads to plain connections too, in a thread that is no session's."""
        match kind:
            case Kind.CONNECTION:
                if self._connection is None or self._connection.closed:
                    self._connection = on_behalf_of(None, self._database.connect)("setup")  # is kept
                    self._connection.prepare_threshold = None
                return self._connection
            case Kind.REDIS:
                return self._supplies.redis
            case Kind.ENGINE:
                return self._supplies.engine
        raise SetupFailed(f"a setup is given a connection, a Redis client or an engine, not {kind}")

    async def _run_async(self, setup: Callable[..., Any]) -> None:
        parameters = parameters_of(setup)
        give: dict[Kind, Any] = {}
        try:
            for kind in parameters.kinds():
                if kind is Kind.CONNECTION:
                    give[kind] = await self._database.connect_async("setup")
                elif kind is Kind.REDIS:
                    give[kind] = self._supplies.async_redis()
                elif kind is Kind.ENGINE:
                    give[kind] = self._supplies.async_engine
                else:
                    raise SetupFailed(f"a setup is given a connection, a Redis client or an engine, not {kind}")
            await setup(*(give[k] for k in parameters.positional), **{k: give[v] for k, v in parameters.named.items()})
        finally:
            if Kind.CONNECTION in give:
                await give[Kind.CONNECTION].close()

    def restore(self) -> None:
        if self.content:
            self.content.restore()

    def rows(self) -> dict[str, Table]:
        """What is in Redis, as a table among the others; nothing where it is empty."""
        table = self.content.table() if self.content else None
        return {"redis": table} if table and table.rows else {}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self.content:
            self.content.close()
