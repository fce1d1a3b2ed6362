"""How the tables of a suite's database are made, as pg_dump says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from psycopg.conninfo import make_conninfo

from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.servers.dump import dump

DUMPS = 5
"""How often a database is asked again, for tables that were not there before."""
DUMP_SECONDS = 30

_OPTIONS = ("--schema-only", "--exclude-schema=zephyr_lab_*", "--lock-wait-timeout=2000")
_MAKES = re.compile(r"(?is)create\s+(?:unlogged\s+)?table\s+(\S+)")


@dataclass
class Definitions:
    """`statements` make everything, in this order; `trouble` is why they are not known, or ''."""

    statements: list[str] = field(default_factory=list)
    trouble: str = ""
    database: str = ""
    dumps: int = 0

    def note(self, connection: Any, home: str, tables: Iterable[str]) -> None:
        """Asks for definitions, if a table of these is not known yet."""
        about = connection.info
        database = f"{about.dbname} at {about.host}:{about.port}"
        if self.database and database != self.database:
            self.trouble = f"the suite uses two databases, {self.database} and {database}"
        elif self.dumps < DUMPS and not all(map(self.has, tables)):
            self.database, self.dumps = database, self.dumps + 1
            try:
                self._add(_at_home(_dump(connection), home))
            except (OSError, subprocess.SubprocessError, ServerUnavailable) as error:
                self.trouble = f"pg_dump: {error}"

    def has(self, table: str) -> bool:
        return table in self._made()

    def _made(self) -> set[str]:
        return {found[1] for one in self.statements if (found := _MAKES.match(one))}

    def _add(self, statements: Iterable[str]) -> None:
        known, made = set(self.statements), self._made()
        for one in statements:
            found = _MAKES.match(one)
            if one not in known and not (found and found[1] in made):
                self.statements.append(one)


def _at_home(statements: Iterable[str], home: str) -> Iterator[str]:
    """Without the name of the schema `home`."""
    for one in statements:
        if one != f"CREATE SCHEMA {home}":
            yield one.replace(f"{home}.", "") if home else one


def _dump(connection: Any) -> Iterator[str]:
    about = connection.info
    environment = dict(os.environ)
    if about.password:
        environment["PGPASSWORD"] = about.password  # not in the arguments, which everybody on the machine can read
    where = make_conninfo("", **about.get_parameters())
    return dump(where, environment, _OPTIONS, major=about.server_version // 10000, seconds=DUMP_SECONDS)
