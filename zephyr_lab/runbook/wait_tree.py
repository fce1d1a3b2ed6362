"""The result of who-blocks-whom as a tree: at the root a session that does not wait, below it its waiters."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from zephyr_lab.extras import or_text

if TYPE_CHECKING:
    import pandas as pd

QUERY = 80  # characters of a query in a line


@dataclass(frozen=True)
class Waiter:
    """A session at its place in the tree. `level` is 0 at a root;"""

    name: str
    level: int
    waits_for: tuple[str, ...]
    lock: str
    said: str
    query: str
    deadlock: bool


@dataclass(frozen=True)
class WaitTree:
    """Sessions in the order of the tree, each below the one that it waits for."""

    sessions: tuple[Waiter, ...]

    @classmethod
    def of(cls, answer: pd.DataFrame | Iterable[Mapping[str, Any]]) -> WaitTree:
        """From the result of who-blocks-whom; a session is named by application_name, and pid if that is ambiguous."""
        rows: dict[int, Mapping[str, Any]] = {row["pid"]: row for row in _records(answer)}
        names = _names(rows)
        children: dict[int | None, list[int]] = {}
        for pid, row in rows.items():
            # Of several blockers, the one farthest from a root.
            above = max(row["waits_for"], key=lambda other: rows[other]["depth"] or 0, default=None)
            children.setdefault(above, []).append(pid)
        placed: dict[int, int] = {}
        for first in [*children.get(None, []), *rows]:  # a deadlock has no root, and begins with any of its sessions
            _place(first, 0, children, placed)
        return cls(tuple(_waiter(rows[pid], level, names) for pid, level in placed.items()))

    @property
    def roots(self) -> tuple[str, ...]:
        """Sessions that block others and do not wait: those to examine first."""
        return tuple(one.name for one in self.sessions if not one.waits_for)

    def __str__(self) -> str:
        if not self.sessions:
            return "nobody waits"
        width = max(3 * one.level + len(one.name) for one in self.sessions)
        lines = []
        for one in self.sessions:
            name = "   " * (one.level - 1) + ("└─ " if one.level else "") + one.name
            query = textwrap.shorten(one.query, QUERY, placeholder=" ...")
            lines.append(f"{name:<{width}}  {one.said}" + (f": {query}" if query else ""))
        return "\n".join(lines)

    @or_text
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if not self.sessions:
            return {"text/plain": str(self)}
        from zephyr_lab.views.wait_tree import wait_tree  # matplotlib: not needed for text

        return wait_tree([asdict(one) for one in self.sessions], str(self)).mimebundle()


def _place(pid: int, level: int, children: dict[int | None, list[int]], placed: dict[int, int]) -> None:
    todo = [(pid, level)]
    while todo:
        pid, level = todo.pop()
        if pid not in placed:
            placed[pid] = level
            todo += [(child, level + 1) for child in reversed(children.get(pid, []))]


def _names(rows: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    """A session's name: its application_name if that is unique."""
    shared = Counter(row["session"] for row in rows.values())
    return {
        pid: row["session"] if row["session"] and shared[row["session"]] == 1 else f"{row['session'] or 'pid'} {pid}"
        for pid, row in rows.items()
    }


def _waiter(row: Mapping[str, Any], level: int, names: dict[int, str]) -> Waiter:
    waits_for = tuple(names[pid] for pid in row["waits_for"])
    # A row's waits name the row's table; a relation's also in which mode.
    lock = _joined(row["lock"], row["relation"], row["mode"] if row["lock"] == "relation" else None)
    said = f"waits for {_joined(*waits_for)} ({lock})" if waits_for else row["state"] or "its state is hidden"
    if row["pid"] == 0:
        said = "holds its locks without a session: see long-transactions"
    if row["deadlock"]:
        said += ", a deadlock"
    query = " ".join((row["query"] or "").split())
    return Waiter(names[row["pid"]], level, waits_for, lock, said, query, bool(row["deadlock"]))


def _joined(*words: str | None) -> str:
    return ", ".join(word for word in words if word)


def _records(answer: pd.DataFrame | Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    frame: Any = answer  # pandas is not imported for its type
    if not hasattr(answer, "to_dict"):
        given: Iterable[Mapping[str, Any]] = frame
        return given
    rows: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows
