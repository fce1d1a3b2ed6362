"""The four isolation levels, by PostgreSQL's names (manual, 13.2)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from zephyr_lab.errors import BadInput


class IsolationLevel(StrEnum):
    """An isolation level; its value is what PostgreSQL calls it."""

    READ_UNCOMMITTED = "read uncommitted"
    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"
    SERIALIZABLE = "serializable"

    @classmethod
    def of(cls, level: Any) -> IsolationLevel:
        """Parses a level's name, in any case and with `_` or `-`, or a `psycopg.IsolationLevel`. Raises BadInput."""
        # psycopg's enum has the same member names; taking those keeps this module free of a driver.
        name = level if isinstance(level, str) else getattr(level, "name", "")
        try:
            return cls(" ".join(str(name).replace("_", " ").replace("-", " ").lower().split()))
        except ValueError:
            raise BadInput(
                f"unknown isolation level {level!r}; PostgreSQL's are: {', '.join(repr(str(one)) for one in cls)}"
            ) from None
