"""The questions, one per file: its name, its purpose, how to read the result, then SQL.

Parameters are written as psql's variables, `:'table'`, so that a DBA can run a file as it is:

    psql -v table=orders -f sql/runbook/partitions.sql
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zephyr_lab.errors import BadInput
from zephyr_lab.shipped import shipped

# In the order in which an engineer on call would ask.
ORDER = (
    "this-connection",
    "table-exists",
    "tables",
    "columns",
    "partitions",
    "missing-partitions",
    "permissions",
    "role-access",
    "indexes",
    "isolation-level",
    "locks",
    "who-blocks-whom",
    "long-transactions",
    "ssi-locks",
    "counters",
)
_PARAMETER = re.compile(r"(?<!:):'(\w+)'")


@dataclass(frozen=True)
class Question:
    """A named query. `notes` say how to read its result, and what a role without privileges does not see."""

    name: str
    title: str
    notes: str
    sql: str

    @classmethod
    def parse(cls, text: str, source: str) -> Question:
        """Reads a file's text: comment lines with the name, the title and notes, then SQL. Raises BadInput."""
        lines = text.splitlines()
        head = [line.removeprefix("--").strip() for line in _leading_comments(lines)]
        sql = "\n".join(lines[len(head) :]).strip().removesuffix(";")
        if len(head) < 2 or not head[0] or not head[1] or not sql:
            raise BadInput(f"{source}: first two comment lines, a name and what is answered; then SQL")
        return cls(head[0], head[1], " ".join(head[2:]), sql)

    @property
    def parameters(self) -> frozenset[str]:
        """The names that the SQL takes: table, role, path, months, older_than."""
        return frozenset(_PARAMETER.findall(self.sql))

    @property
    def placeholders(self) -> str:
        """The SQL as psycopg takes it, `%(table)s` for `:'table'`."""
        return _PARAMETER.sub(r"%(\1)s", self.sql.replace("%", "%%"))


def _leading_comments(lines: list[str]) -> list[str]:
    first = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return lines[:first]


@cache
def _read(folder: Path) -> dict[str, Question]:
    found = {}
    for path in sorted(folder.glob("*.sql")):
        one = Question.parse(path.read_text(encoding="utf-8"), path.name)
        if one.name != path.stem:
            raise BadInput(f"{path.name} calls itself {one.name!r}: name and file must be the same")
        found[one.name] = one
    return found


def questions() -> list[Question]:
    """Every question, in the order in which an engineer on call would ask."""
    found = _read(shipped("sql", "runbook"))
    return [found[name] for name in ORDER]


def question(name: str) -> Question:
    """A question by its name. Raises BadInput, listing the names."""
    found = _read(shipped("sql", "runbook"))
    if name not in found:
        raise BadInput(f"unknown question {name!r}; there are: {', '.join(ORDER)}")
    return found[name]


def as_written(name: str) -> Question:
    """A query of the write-up, by its file's name in sql/runbook/as_written. Its title says how it fails or misleads.

    `Runbook.ask` runs it like any other. Raises BadInput, listing the names.
    """
    found = _read(shipped("sql", "runbook", "as_written"))
    if name not in found:
        raise BadInput(f"the write-up has no snippet {name!r}; there are: {', '.join(found)}")
    return found[name]
