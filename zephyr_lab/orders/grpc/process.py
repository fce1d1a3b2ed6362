"""The server process: connections, metrics, the gRPC server, and its orderly end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

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
    _prepare(dsn, install)
    asyncio.run(_serve(strategy, dsn, redis_url, host, port, metrics_port, ready))


def _prepare(dsn: str, install: bool) -> None:
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            if not schema.is_installed(connection):
                if not install:
                    raise NotInstalled("the order service's tables are not there: add --install, or load sql/orders")
                schema.install(connection)
    except psycopg.OperationalError:
        raise ServerUnavailable("no PostgreSQL answers there, or it refused: check the DSN") from None


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
            server, _ = start_http_server(metrics_port, addr=host, registry=metrics.registry)
            stack.callback(server.shutdown)
        try:
            serving = await stack.enter_async_context(Server(service, host, port))
        except RuntimeError:
            raise BadInput(f"cannot listen on {host}:{port}: it is taken, or not this machine's") from None
        ready(f"{host}:{serving.port}")
        await stop.wait()
