"""Runs code beside the sessions: a setup, an invariant. Connections that it opens lead into the lab's schema.

It runs in a thread of its own, as a session does, so that a framework with a connection per thread, such as Django,
opens a new one.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from zephyr_lab.errors import LabError
from zephyr_lab.functions.interception import held, intercepted
from zephyr_lab.functions.turn import Abandoned, bind_thread, interrupt
from zephyr_lab.servers.database import Database, environment_for

if TYPE_CHECKING:
    from zephyr_lab.functions.content import Content

T = TypeVar("T")
END_SECONDS = 2.0  # for an interrupted thread to end


class Beside:
    """An owner of threads, like `Turn`, but with any number of connections, and without turns.

    `title` names it, such as `setup make_tables`; `said` is every statement that it sent to PostgreSQL.
    """

    def __init__(self, title: str, database: Database, content: Content | None) -> None:
        self.title, self.content, self._database = title, content, database
        self.bounds = database.bounds
        self.misuse: LabError | None = None
        self.said: list[str] = []
        self.kept: dict[str, Any] = {}  # singletons of frameworks
        self.at_end = contextlib.ExitStack()
        self._opened: list[Any] = []

    def refuse(self, error: LabError) -> LabError:
        self.misuse = self.misuse or error
        return error

    def controls(self, connection: Any) -> bool:
        """Whether a psycopg connection leads into the lab's schema."""
        if connection.closed:
            return True
        return f"search_path={self._database.schema}" in (connection.info.get_parameters().get("options") or "")

    def connecting(self, connect: Callable[[str], Generator[Any, Any, Any]]) -> Generator[Any, Any, Any]:
        """psycopg's connecting generator, redirected to the lab's schema."""
        with environment_for(self._database.is_embedded):
            connection = yield from connect(self._database.conninfo("setup"))
        self._database.verify(connection.pgconn)
        self._opened.append(connection)
        return connection

    def run(self, call: Callable[[], T]) -> T:
        """Runs `call` and closes what it has opened. Raises LabError for misuse, and what `call` raises."""
        context, told, raised = contextvars.copy_context(), list[T](), list[BaseException]()
        ended = threading.Event()  # a `join` that is interrupted holds the thread for ended (Python below 3.13)

        def body() -> None:
            bind_thread(self)
            try:
                told.append(context.run(call))
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(name=self.title, daemon=True)
        with held(body) as run:

            def until_the_end() -> None:
                with contextlib.suppress(Abandoned):  # an interrupt that comes late
                    try:
                        run()
                    finally:
                        ended.set()

            thread.run = until_the_end  # type: ignore[method-assign]
            thread.start()
        try:
            ended.wait()
        except BaseException:
            self._interrupt(thread, ended)
            raise
        finally:
            self._close()
        if self.misuse:
            raise self.misuse
        if raised:
            raise raised[0]
        return told[0]

    def _interrupt(self, thread: threading.Thread, ended: threading.Event) -> None:
        """As an interrupt would: cancels its connections' statements and stops its Python code."""
        for connection in list(self._opened):
            with contextlib.suppress(psycopg.Error):
                connection.pgconn.get_cancel().cancel()
        interrupt(thread)
        ended.wait(END_SECONDS)

    def _close(self) -> None:
        """As at a process's end: closes what is still open, which rolls its transaction back."""
        self.at_end.close()
        while self._opened:
            self._opened.pop().pgconn.finish()


def run_beside(title: str, call: Callable[[], T], database: Database, content: Content | None = None) -> T:
    """Runs `call` as a setup runs, outside of any exploration. Raises as `Beside.run`."""
    with intercepted():
        return Beside(title, database, content).run(call)
