"""What the service is asked, as operations for `Lab.hunt`, in the scene of `orders.example`: one slot, nearly full.

lab.hunt(requests(strategy("redis-lua")), setup=example.setup(strategy("redis-lua")), ignore=NOT_ITS_OWN)
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from zephyr_lab.orders import example
from zephyr_lab.orders.documented import DocumentedSlots
from zephyr_lab.orders.models import Plan, Status, Window
from zephyr_lab.orders.reconcile import money, reconcile
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.session import run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import Load, Strategy

DAY = example.NOW.date()
NOT_ITS_OWN = ("orders.updated_at", "orders.cancelled_at")
"""Columns that the server's clock fills in."""

Work = Callable[[OrderService], Coroutine[Any, Any, Any]]


class _OneSlot(Plan):
    def window(self, now: datetime) -> Window:
        return example.WINDOW


async def _create(service: OrderService) -> Any:
    return (await service.create(example.order(1))).slot.id


async def _another(service: OrderService) -> Any:
    return (await service.create(example.order(2))).slot.id


async def _cancel(service: OrderService) -> Any:
    return await service.cancel(example.EARLIER.id)


async def _prepare(service: OrderService) -> Any:
    return await service.set_status(example.EARLIER.id, Status.PREPARING)


async def _release(service: OrderService) -> int | None:
    """A place is given back in Redis, as an operator or a job would."""
    if service.strategy.name == "redis-lua-idempotent":
        return await RedisSlots(service.redis).release_slot(example.EARLIER.id, DAY)
    await DocumentedSlots(service.redis).release_slot(example.EARLIER.id)
    return None


async def _accounts(service: OrderService) -> list[str]:
    async with service.session() as session:
        return [str(one) for one in await money(session, DAY)]


async def _reconcile(service: OrderService) -> list[str]:
    """As a job that runs all the time: places younger than its grace are left alone."""
    slots = RedisSlots(service.redis) if _has_its_places_in_redis(service.strategy) else None
    async with service.session() as session:
        found = await reconcile(session, DAY, slots, repair=True, now=example.NOW)
    return [str(one) for one in found]


def _has_its_places_in_redis(strategy: Strategy) -> bool:
    return strategy.name == "redis-lua-idempotent"


def requests(strategy: Strategy) -> dict[str, Callable[..., Any]]:
    """Operations by name, each on a pool, and a Redis client if the strategy needs one.

    `reconcile` only where there is a second account that it knows: the counter of slots, or `RedisSlots`.
    """
    work: dict[str, Work] = {"create": _create, "another": _another, "cancel": _cancel, "prepare": _prepare}
    if strategy.load is Load.REDIS and strategy.name != "redis-get-then-incrby":
        work["release"] = _release
    if strategy.load is Load.SLOTS or _has_its_places_in_redis(strategy):
        work["reconcile"] = _reconcile
    return {name: _asked(strategy, one) for name, one in {**work, "accounts": _accounts}.items()}


def _asked(strategy: Strategy, work: Work) -> Callable[..., Any]:
    def ask(pool: Any, redis: Any) -> Any:
        return run_sync(work(OrderService(pool, strategy, redis, _OneSlot(), opened={DAY})))

    return ask if strategy.load is Load.REDIS else lambda pool: ask(pool, None)
