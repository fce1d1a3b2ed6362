"""The service behind PgBouncer in transaction mode: each transaction may meet another server process."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.orders.conftest import Shop, order
from tests.servers.pgbouncer import needs_pgbouncer, pgbouncer
from zephyr_lab.errors import BadInput
from zephyr_lab.orders import clients, deadline
from zephyr_lab.orders.admission import Admission
from zephyr_lab.orders.grpc import process
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.strategies import strategy

pytestmark = [pytest.mark.server, needs_pgbouncer]

ORDERS, AT_ONCE, PROCESSES = 120, 12, 3
"""Three server processes for twelve connections."""


async def _order(dsn: str, name: str, connections: dict[str, Any], redis_url: str) -> list[Any]:
    async with (
        clients.async_pool(dsn, min_size=AT_ONCE, max_size=AT_ONCE, **connections) as pool,
        clients.async_redis_client(redis_url) as redis,
    ):
        service = OrderService(pool, strategy(name), redis)
        service.admission = Admission(pool, seconds=20)

        async def customer(number: int) -> None:
            for _ in range(ORDERS // AT_ONCE):
                with deadline.within(20 if number % 2 else None):
                    assert (await service.create(order())).is_new

        return await asyncio.gather(*(customer(number) for number in range(AT_ONCE)), return_exceptions=True)


@pytest.mark.thorough_but("one-statement")
@pytest.mark.parametrize("name", ["one-statement", "select-for-update", "serializable-retry", "redis-lua-idempotent"])
def test_every_order_is_saved_behind_it(shop: Shop, name: str) -> None:
    """And money is one; statements that are prepared by name would meet processes that do not know them."""
    with pgbouncer(shop.dsn, "transaction", "extra_float_digits", f"default_pool_size = {PROCESSES}") as dsn:
        assert process._prepare(strategy(name), dsn, process.Settings())
        assert not process._prepare(strategy(name), shop.dsn, process.Settings())
        told = asyncio.run(_order(dsn, name, clients.BEHIND_POOLER, shop.redis_url))
        if name == "one-statement":
            with pytest.raises(BadInput, match="a lock of its session"):
                process._prepare(strategy("advisory-lock-before-snapshot"), dsn, process.Settings())
    refused = [one for one in told if isinstance(one, psycopg.errors.SerializationFailure)]
    assert [one for one in told if one is not None and one not in refused] == []
    assert not refused or name == "serializable-retry", "and a client may be refused there"
    assert shop.count() == ORDERS or refused
    assert shop.wrong(name) == []


@pytest.mark.thorough
def test_with_prepared_statements_it_fails(shop: Shop) -> None:
    """Which is why they are off: PgBouncer before 1.21, or with max_prepared_statements = 0."""
    with pgbouncer(shop.dsn, "transaction", "extra_float_digits", f"default_pool_size = {PROCESSES}") as dsn:
        told = asyncio.run(_order(dsn, "one-statement", {}, shop.redis_url))
    assert any(isinstance(one, psycopg.Error) and "prepared statement" in str(one) for one in told), told
