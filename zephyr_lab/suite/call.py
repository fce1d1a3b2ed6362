"""A call of application code that is being recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import CodeType

from zephyr_lab.suite.levels import Level
from zephyr_lab.suite.operations import Operation, Statement, Transaction
from zephyr_lab.suite.stack import Caller, Stack

MOST_STATEMENTS = 60
"""Of an operation; one that asks more is not hunted."""
WHOLE = 0
"""The number of the transaction that is all of an operation, which its caller began and would commit."""


@dataclass(eq=False)
class Call:
    """An operation that is being recorded. `frames` are by the code of the outermost functions that have asked for it,
    `open` its transactions that have not ended. `lost`: why it cannot be replayed."""

    caller: Caller
    test: str
    rows: int | None
    frames: dict[CodeType, tuple[int, ...]]
    statements: list[Statement] = field(default_factory=list)
    transactions: dict[int, Transaction] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    by_session: bool = False
    holds_back: bool = False
    lost: str = ""

    def is_of(self, caller: Caller) -> bool:
        """Whether the same call of a function asks, or another function on the same errand, such as what a framework
        calls before and after it; a second call of the same function is another operation."""
        if caller.code in self.frames:
            return self.frames[caller.code] == caller.frame
        return bool(caller.errand) and not self.open

    def end(self, level: Level, *, by_itself: bool) -> None:
        """A transaction has ended, which a session may have written more in than is known if others have ended it."""
        if level.number in self.transactions:
            self.open.discard(level.number)
            self.holds_back |= self.by_session and not by_itself
            self.transactions[level.number] = Transaction(level.number, level.begin, level.is_rolled_back)

    def operation(self) -> Operation:
        code = self.caller.code
        kept = {one.transaction for one in self.statements}
        transactions = tuple(one for number, one in self.transactions.items() if number in kept)
        return Operation(
            self.caller.name, code.co_filename, code.co_firstlineno, self.test, tuple(self.statements), transactions,
            self.rows, self.holds_back,
        )  # fmt: skip

    def transaction(self, stack: Stack, level: Level | None, *, is_idle: bool) -> int | None:
        """The number of the one that a statement is in; None for one of its own. `level` is the application's."""
        self.by_session |= stack.by_session
        if self.open - {level.number if level else None}:
            self.lost = self.lost or "calls that use two connections at once"
        if level is not None:
            level.owner = self
            self.transactions.setdefault(level.number, Transaction(level.number, level.begin, level.is_rolled_back))
            return level.number
        if is_idle or stack.by_django:
            return None
        self.transactions.setdefault(WHOLE, Transaction(WHOLE, "begin", False))
        self.holds_back |= stack.by_session
        return WHOLE

    def add(self, statement: Statement) -> None:
        if len(self.statements) >= MOST_STATEMENTS:
            self.lost = f"calls that ask more than {MOST_STATEMENTS} statements"
        else:
            self.statements.append(statement)
