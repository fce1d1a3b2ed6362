"""Creates the partitions of the coming months beside running traffic."""

from __future__ import annotations

from typing import Any

import psycopg

from zephyr_lab.errors import BadInput
from zephyr_lab.orders.errors import NotInstalled

LOCK_SECONDS = 2
"""The DDL's lock timeout: waiting for a strong lock makes others queue behind it."""


def ensure(connection: psycopg.Connection[Any], months: int) -> list[str]:
    """Creates the missing partitions of this month (UTC) and `months` more; returns their names.

    Raises BadInput, NotInstalled, and psycopg's LockNotAvailable (55P03) if a lock is not granted in time.
    """
    if not 0 <= months <= 120:
        raise BadInput(f"months is from 0 to 120, not {months}")
    try:
        with connection.transaction():
            connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'".encode())
            rows = connection.execute("select ensure_orders_partitions(%s)", [months]).fetchall()
    except (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedTable) as error:
        raise NotInstalled(
            f"{error.diag.message_primary}: install sql/orders in this schema first, or set the search_path in the DSN"
        ) from error
    return [name for (name,) in rows]
