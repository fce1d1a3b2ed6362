"""What a lab and its cases run on: a server with a runner, the Redis beside it, and how to open another runner."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from zephyr_lab.errors import ServerLost
from zephyr_lab.extras import needed_by
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.servers.database import Database
from zephyr_lab.servers.embedded import start_postgres, start_valkey
from zephyr_lab.workers.cluster import dask_client, open_on
from zephyr_lab.workers.kept import KEPT
from zephyr_lab.workers.pool import Workers

if TYPE_CHECKING:
    from zephyr_lab.load import Idle
    from zephyr_lab.servers.keyvalue import KeyValue
    from zephyr_lab.wire.proxy import Wire


@dataclass(frozen=True)
class Opening:
    """Opens a runner: on the server of a DSN, or on an embedded one. Workers do the same."""

    dsn: str | None = field(repr=False)
    pg_bin: str | None
    step_seconds: float

    def __call__(self, stack: contextlib.ExitStack) -> Runner:
        """`stack` closes the runner, and an embedded server. Raises ServerUnavailable."""
        if self.dsn:
            database = Database(self.dsn, external=True)
        else:
            server, dsn = start_postgres(self.pg_bin)
            stack.callback(server.close)
            database = Database(dsn, external=False)
        stack.callback(database.close)
        runner = Runner(database, self.step_seconds)
        stack.callback(runner.close)
        return runner


@dataclass(frozen=True)
class OpenEngine:
    """Opens an engine: what a worker does, once. With a DSN it works on that server, in a schema of its own."""

    opening: Opening
    redis_url: str | None = field(repr=False)
    observed: bool = False

    def __call__(self, stack: contextlib.ExitStack) -> Engine:
        """`stack` closes it. Raises ServerUnavailable."""
        engine = Engine(self.opening, self.redis_url, observed=self.observed)
        stack.callback(engine.close)
        return engine


class Engine:
    """Open until `close()`, until it is garbage-collected, or until the end of the process.

    `observed`: runs of cases are observed. Raises ServerUnavailable, with the remedy.
    """

    def __init__(self, opening: Opening, redis_url: str | None = None, *, observed: bool = False) -> None:
        self.opening, self.observed, self.redis_url = opening, observed, redis_url
        self._clients: set[str] = set()  # of Dask
        self._open = contextlib.ExitStack()
        self._finalizer = weakref.finalize(self, _close, self._open, os.getpid())
        try:
            self.runner = opening(self._open)
        except BaseException:
            self.close()
            raise
        self.database = self.runner.database

    @property
    def elsewhere(self) -> OpenEngine:
        """How a worker opens one like it."""
        return OpenEngine(self.opening, self.redis_url, self.observed)

    def ensure_open(self) -> None:
        """Raises ServerLost if it is closed."""
        if not self._finalizer.alive:
            raise ServerLost("this lab is closed; start a new one")

    @contextlib.contextmanager
    def workers(self, executor: Executor | None, jobs: int) -> Iterator[Workers | None]:
        """Those of an executor, or so many processes; None for this process alone. They open engines like this one.

        Dask's workers open theirs at once, and close them with this one.
        """
        if executor is None and jobs == 1:
            yield None
            return
        if (client := dask_client(executor)) is not None and client.id not in self._clients:
            self.close_with(open_on(client, self.elsewhere))
            self._clients.add(client.id)
        try:
            with Workers(executor, jobs) as workers:
                yield workers
        finally:
            KEPT.close()  # if they are threads of this process

    @cached_property
    @needed_by("the lab's Redis", "redis")
    def keyvalue(self) -> KeyValue:
        """Redis; the first use starts it."""
        from zephyr_lab.servers.keyvalue import KeyValue  # redis-py takes as long to import as all the rest

        url = self.redis_url
        if url:
            keyvalue = KeyValue(url, external=True)
        else:
            server, url = start_valkey()
            self._open.callback(server.close)
            keyvalue = KeyValue(url, external=False)
        self._open.callback(keyvalue.close)
        return keyvalue

    @property
    def has_keyvalue(self) -> bool:
        """Whether Redis has been requested."""
        return "keyvalue" in vars(self)

    def close_with(self, close: Callable[[], object]) -> None:
        """Registers a function to be called at `close`."""
        self._open.callback(close)

    @cached_property
    def wire(self) -> Wire:
        """The lab's sockets; the first use opens them."""
        from zephyr_lab.wire.proxy import Wire

        wire = Wire(self.database, lambda: self.keyvalue)
        self._open.callback(wire.close)
        return wire

    @cached_property
    def idle(self) -> Idle:
        """The client processes, kept between runs under load."""
        from zephyr_lab.load import Idle

        idle = Idle()
        self._open.callback(idle.close)
        return idle

    def close(self) -> None:
        """Ends the sessions, removes the schema, stops the servers. Safe to call twice."""
        self._finalizer()


def _close(stack: contextlib.ExitStack, owner: int) -> None:
    if os.getpid() == owner:  # a forked child must not end its parent's servers at its exit
        stack.close()
