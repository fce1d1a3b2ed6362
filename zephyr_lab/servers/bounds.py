"""Bounds on SQL for an external server: only the lab's schema, by names that do not leave it.

Names are searched in the text, whatever they denote there: another schema before a dot, what changes the search path,
and objects outside of all schemas. A false alarm costs an exploration; a missed statement could cost a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zephyr_lab.errors import BadInput

_BEYOND = re.compile(
    r"""(?isx)
    (?<! show[ ]) \b search_path \b | \b set \s+ ((session|local) \s+)? schema \b
    | \b (create | alter | drop) \s+ (or \s+ replace \s+)? ((trusted | procedural | foreign \s+ data) \s+)*
      (schema | database | role | user | group | tablespace | extension | publication | subscription | event \s+ trigger
       | server | wrapper | language | cast | system | default \s+ privileges | owned) \b
    | \b reassign \s+ owned \b | \b import \s+ foreign \b | \b on \s+ (database | tablespace) \b
    | \b lo_(import | creat\w* | from_bytea | put | unlink | open) \b | \b dblink\w* \s* \(
    | \b copy \b [^;]* \b (from | to) \s+ (program \b | ')
    | \b pg_(terminate_backend | cancel_backend | reload_conf | promote | switch_wal | stat_reset\w*) \b
    | (^ | ;) \s* (vacuum | analyze | cluster | checkpoint) \s* (\( [^)]* \))? \s* (; | $)
    | \b reindex \s+ (\( [^)]* \) \s+)? (system | database) \b
    """
)


class Bounds:
    """What SQL may not name on an external server with these schemas."""

    def __init__(self, schemas: Iterable[str]) -> None:
        names = "|".join(re.escape(name) for name in sorted(schemas, key=len, reverse=True))
        self._others = re.compile(
            rf'(?is)(?<![\w$."])("?)({names})\1\s*\.|\bschema\s+"?({names})\b' if names else "(?!)"
        )

    def check(self, sql: str, whose: str) -> None:
        """Raises BadInput if `sql`, which is `whose`, may leave the lab's schema."""
        if found := self._others.search(sql) or _BEYOND.search(sql):
            shown = " ".join(found[0].split())
            raise BadInput(
                f"{whose} has {shown!r}, and on a server of yours nothing but the lab's schema is touched. It was not "
                "sent: leave schemas out of names and search_path alone, or explore on the lab's own server (unset "
                "ZEPHYR_LAB_PG_DSN)"
            )
