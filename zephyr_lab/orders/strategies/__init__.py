"""The ways to book a slot, one file each, named by mechanism."""

from __future__ import annotations

from dataclasses import replace

from zephyr_lab.errors import BadInput
from zephyr_lab.orders.strategies import (
    advisory_lock,
    advisory_lock_before_snapshot,
    check_then_insert,
    conditional_update,
    one_statement,
    read_then_write,
    redis_get_then_incrby,
    redis_lua,
    redis_lua_idempotent,
    redis_lua_serializable,
    repeatable_read_retry,
    select_for_update,
    serializable_retry,
    server_side_function,
    skip_locked,
    unique_constraint,
    version_column,
)
from zephyr_lab.orders.strategies.base import Load, Strategy

STRATEGIES: dict[str, Strategy] = {
    module.STRATEGY.name: replace(module.STRATEGY, documentation=module.__doc__ or "")
    for module in (
        check_then_insert,
        read_then_write,
        conditional_update,
        select_for_update,
        skip_locked,
        repeatable_read_retry,
        serializable_retry,
        advisory_lock,
        advisory_lock_before_snapshot,
        version_column,
        unique_constraint,
        one_statement,
        server_side_function,
        redis_get_then_incrby,
        redis_lua,
        redis_lua_serializable,
        redis_lua_idempotent,
    )
}
"""By name, from the simplest to the documented fix and its remedy."""


def strategy(name: str) -> Strategy:
    """A strategy by its name. Raises BadInput, listing the names."""
    if name not in STRATEGIES:
        raise BadInput(f"unknown strategy {name!r}; there are: {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


__all__ = ["STRATEGIES", "Load", "Strategy", "strategy"]
