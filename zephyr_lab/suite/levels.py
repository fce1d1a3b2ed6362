"""Which transaction of an application a statement belongs to, within those that a test suite wraps around it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from zephyr_lab.sql.classify import Kind, classify

_numbers = itertools.count(1)


@dataclass
class Level:
    """A transaction or a savepoint that is open. `owner` is the application's, as the recorder knows it, or None.

    `begin` is how it would begin if it were a transaction of its own.
    """

    name: str
    owner: Any
    begin: str
    number: int = field(default_factory=lambda: next(_numbers))
    is_rolled_back: bool = False


class Levels:
    """Those of a connection, the outermost first."""

    def __init__(self) -> None:
        self._open: list[Level] = []

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def application(self) -> Level | None:
        """The outermost one that application code has begun: its transaction."""
        return next((one for one in self._open if one.owner is not None), None)

    def note(self, sql: str, begin: str, owner: Any, *, was_idle: bool, is_idle: bool) -> list[Level]:
        """What a statement that was carried out has begun, or ended; returns the levels that it has ended."""
        ended: list[Level] = []
        if was_idle and not is_idle:
            self._open = [Level("", owner, begin)]
        for one in classify(sql):
            name = one.tokens[-1].name if one.tokens else sql.split()[-1].strip('"')
            if one.kind is Kind.SAVEPOINT:
                self._open.append(Level(name, owner, "begin"))
            elif one.kind is Kind.RELEASE and (place := self._place(name)) is not None:
                ended += self._open[place:]
                del self._open[place:]
            elif one.kind is Kind.ROLLBACK_TO and (place := self._place(name)) is not None:
                self._open[place].is_rolled_back = True
                ended += self._open[place + 1 :]
                del self._open[place + 1 :]
            elif one.kind is Kind.ROLLBACK and self._open:
                self._open[0].is_rolled_back = True
        if is_idle:
            ended += self._open
            self._open = []
        return ended

    def _place(self, name: str) -> int | None:
        places = [place for place, one in enumerate(self._open) if one.name == name]
        return places[-1] if places else None
