"""Two terminals in a notebook: `%load_ext zephyr_lab`, then cells that begin with `%%session A` or `%%session B`.

    %%setup          the tables, made anew; ends all sessions
    %%session A      sends the cell's SQL as session A, statement by statement, and shows what came back
    %transcript      everything so far, as a timeline
    %reset_sessions  ends all sessions, and makes the tables anew; a level may follow: %reset_sessions serializable

The sessions live on a server of the extension's own, which starts with the first cell that needs it and ends with the
notebook's kernel; ZEPHYR_LAB_PG_DSN names another. An error of the server's is an answer, shown by its SQLSTATE, and
stops nothing. What cannot be carried out raises, and says what to do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from zephyr_lab.errors import BadInput, LabError, ServerLost
from zephyr_lab.lab import Lab
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.terminals import Answer, Terminals
from zephyr_lab.schedule.transcript import Transcript


def _without_trace(magic: Callable[..., Any]) -> Callable[..., Any]:
    """Shows the lab's own errors as one line: their trace would be the extension's, not the reader's."""

    @functools.wraps(magic)
    def plainly(*arguments: Any) -> Any:
        try:
            return magic(*arguments)
        except LabError as error:
            told = [f"{type(error).__name__}: {error}"]
            # How IPython asks an error to show itself.
            error._render_traceback_ = lambda: told  # type: ignore[method-assign]
            raise

    return plainly


@magics_class
class SessionMagics(Magics):
    """The sessions of a notebook, and their server."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._lab: Lab | None = None
        self._terminals: Terminals | None = None
        self._setup = ""
        self._level = IsolationLevel.READ_COMMITTED

    @cell_magic
    @_without_trace
    def setup(self, line: str, cell: str) -> None:
        """Makes the tables anew with the cell's SQL; all sessions end."""
        if line.strip():
            raise BadInput("%%setup takes its SQL below the first line")
        self._begin(cell, self._level)
        self._setup = cell
        print(self._begun().tables() or "no tables")

    @cell_magic
    @_without_trace
    def session(self, line: str, cell: str) -> Answer:
        """Sends the cell's SQL as a session, statement by statement, and shows what came back: `%%session A`."""
        return self._begun().send(line.strip(), cell)

    @line_magic
    @_without_trace
    def transcript(self, line: str) -> Transcript:
        """Everything so far; the tables as they are committed by now."""
        return self._begun().transcript()

    @line_magic
    @_without_trace
    def reset_sessions(self, line: str) -> None:
        """Ends all sessions and makes the tables anew; a level may follow, which BEGIN then takes."""
        level = IsolationLevel.of(line.strip()) if line.strip() else self._level
        self._begin(self._setup, level)
        self._level = level
        print(f"no sessions, {level}; " + (self._begun().tables() or "no tables"))

    def _begun(self) -> Terminals:
        return self._terminals or self._begin(self._setup, self._level)

    def _begin(self, setup: str, level: IsolationLevel) -> Terminals:
        if self._terminals:
            self._terminals.close()
            self._terminals = None
        try:
            self._terminals = self._open_lab().terminals(setup, level)
        except ServerLost:
            self.close()
            self._terminals = self._open_lab().terminals(setup, level)
        return self._terminals

    def _open_lab(self) -> Lab:
        self._lab = self._lab or Lab()
        return self._lab

    def close(self) -> None:
        """Ends the sessions and the server."""
        if self._lab:
            self._lab.close()
        self._lab = self._terminals = None


def load(shell: InteractiveShell) -> None:
    """Adds the magics to a shell, once."""
    if _registered(shell) is None:
        shell.register_magics(SessionMagics)


def unload(shell: InteractiveShell) -> None:
    """Ends the sessions and the server."""
    if magics := _registered(shell):
        magics.close()


def _registered(shell: InteractiveShell) -> SessionMagics | None:
    found = shell.magics_manager.registry.get(SessionMagics.__name__)
    return found if isinstance(found, SessionMagics) else None
