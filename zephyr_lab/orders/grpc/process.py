"""The server process: connections, metrics, the gRPC server, and its orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg
from prometheus_client import start_http_server

from zephyr_lab.errors import BadInput, ServerUnavailable
from zephyr_lab.orders import clients, schema
from zephyr_lab.orders.errors import NotInstalled
from zephyr_lab.orders.grpc.servicer import Server
from zephyr_lab.orders.metrics import Metrics
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.strategies import Load, Strategy


def serve(
    strategy: Strategy,
    dsn: str,
    redis_url: str | None,
    host: str,
    port: int,
    *,
    metrics_port: int | None = None,
    install: bool = False,
    ready: Callable[[str], object] = lambda where: None,
) -> None:
    """Serves until SIGINT or SIGTERM; `ready` is called with host:port.

    Raises BadInput (a strategy that needs Redis, and none given), NotInstalled, ServerUnavailable.
    """
    if strategy.load is Load.REDIS and redis_url is None:
        raise BadInput(f"{strategy.name} books in Redis: name one with --redis-url or ZEPHYR_LAB_REDIS_URL")
    _log_by_line()
    _prepare(strategy, dsn, install)
    asyncio.run(_serve(strategy, dsn, redis_url, host, port, metrics_port, ready))


def _log_by_line() -> None:
    form = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(form)
    logging.basicConfig(handlers=[handler])


def _prepare(strategy: Strategy, dsn: str, install: bool) -> None:
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            if install and schema.is_empty(connection):
                schema.install(connection)
            if lack := schema.lacking(connection):
                raise NotInstalled(f"the order service's tables are not there ({lack}): {_REMEDY}")
            _check_settings(strategy, connection)
    except psycopg.OperationalError:
        raise ServerUnavailable("no PostgreSQL answers there, or it refused: check the DSN") from None
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        raise NotInstalled(f"the service's tables cannot be made or read there: {said}") from None


_REMEDY = (
    "add --install where none of them is there, name another schema by options=-csearch_path=..., or load sql/orders"
)

_OTHERS = """
select 'the plan of weekday ' || weekday from slot_plans where capacity <> %(capacity)s
union all select id from slots
where start_time >= date_trunc('day', now()) and (capacity <> %(capacity)s or is_disabled) limit 1"""


def _check_settings(strategy: Strategy, connection: psycopg.Connection[Any]) -> None:
    """Raises BadInput where slots are set to what the strategy's own code does not know."""
    if strategy.capacity is None:
        return
    other = connection.execute(_OTHERS, {"capacity": strategy.capacity}).fetchone()
    if other:
        raise BadInput(
            f"{strategy.name} has a capacity of {strategy.capacity} roubles in its code, and knows no disabled slot; "
            f"{other[0]} is otherwise: serve another strategy, such as redis-lua-idempotent"
        )


async def _serve(
    strategy: Strategy,
    dsn: str,
    redis_url: str | None,
    host: str,
    port: int,
    metrics_port: int | None,
    ready: Callable[[str], object],
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(clients.async_pool(dsn))
        redis = await stack.enter_async_context(clients.async_redis_client(redis_url)) if redis_url else None
        metrics = Metrics()
        service = OrderService(pool, strategy, redis, observer=metrics)
        if metrics_port is not None:
            try:
                server, _ = start_http_server(metrics_port, addr=host, registry=metrics.registry)
            except OSError as error:
                raise BadInput(f"cannot serve metrics on {host}:{metrics_port}: {error.strerror}") from None
            stack.callback(server.shutdown)
        try:
            serving = await stack.enter_async_context(Server(service, host, port))
        except RuntimeError:
            raise BadInput(f"cannot listen on {host}:{port}: it is taken, or not this machine's") from None
        ready(f"{host}:{serving.port}")
        await stop.wait()
