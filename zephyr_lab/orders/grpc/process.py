"""The server process: connections, metrics, the gRPC server, and its orderly end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psycopg
from prometheus_client import start_http_server

from zephyr_lab.errors import BadInput, ServerUnavailable
from zephyr_lab.orders import clients, schema
from zephyr_lab.orders.admission import Admission
from zephyr_lab.orders.errors import NotInstalled
from zephyr_lab.orders.grpc import log
from zephyr_lab.orders.grpc.guard import check_reach, credentials
from zephyr_lab.orders.grpc.servicer import Server
from zephyr_lab.orders.metrics import Metrics
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.strategies import Load, Strategy


@dataclass(frozen=True)
class Settings:
    """How to serve. `tls` are the files of a certificate and its key; opening hours (UTC) and capacity, in whole
    roubles, are written into `slot_plans`, for days that have no slots yet; None leaves what is there.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    metrics_port: int | None = None
    install: bool = False
    tls: tuple[Path, Path] | None = None
    token: str | None = field(default=None, repr=False)
    pool: int = 25
    queue: int = 250
    queue_seconds: float = 1.0
    opens: str | None = None
    closes: str | None = None
    capacity: int | None = None
    log_format: str = "text"
    log_level: str = "INFO"
    trace: bool = False
    version: str = ""


def serve(
    strategy: Strategy,
    dsn: str,
    redis_url: str | None,
    settings: Settings,
    ready: Callable[[str], object] = lambda where: None,
) -> None:
    """Serves until SIGINT or SIGTERM; `ready` is called with host:port.

    Raises BadInput (a strategy that needs Redis, and none given; a service that others could reach without TLS and
    token), NotInstalled, ServerUnavailable.
    """
    if strategy.load is Load.REDIS and redis_url is None:
        raise BadInput(f"{strategy.name} books in Redis: name one with --redis-url or ZEPHYR_LAB_REDIS_URL")
    check_reach(settings.host, tls=settings.tls is not None, token=settings.token)
    secured = credentials(*settings.tls) if settings.tls else None
    log.set_up(as_json=settings.log_format == "json", level=settings.log_level)
    pooled = _prepare(strategy, dsn, settings)
    asyncio.run(_serve(strategy, dsn, redis_url, settings, secured, clients.BEHIND_POOLER if pooled else {}, ready))


def _prepare(strategy: Strategy, dsn: str, settings: Settings) -> bool:
    """Whether there is a pooler before PostgreSQL, after all is found to be there."""
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            if settings.install and schema.is_empty(connection):
                schema.install(connection)
            if lack := schema.lacking(connection):
                raise NotInstalled(f"the order service's tables are not there ({lack}): {_REMEDY}")
            _set_plans(settings, connection)
            _check_settings(strategy, connection)
            pooled = clients.is_pooler(connection)
    except psycopg.OperationalError:
        raise ServerUnavailable("no PostgreSQL answers there, or it refused: check the DSN") from None
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        raise NotInstalled(f"the service's tables cannot be made or read there: {said}") from None
    if pooled and strategy.needs_session:
        raise BadInput(
            f"{strategy.name} holds a lock of its session between transactions, and a pooler gives it several: name "
            "PostgreSQL itself, or serve another strategy"
        )
    return pooled


_PLANS = """
update slot_plans set opens = coalesce(%(opens)s::time, opens), closes = coalesce(%(closes)s::time, closes),
    capacity = coalesce(%(capacity)s, capacity)"""


def _set_plans(settings: Settings, connection: psycopg.Connection[Any]) -> None:
    """Raises BadInput for hours that are none."""
    asked = {"opens": settings.opens, "closes": settings.closes, "capacity": settings.capacity}
    if any(value is not None for value in asked.values()):
        try:
            connection.execute(_PLANS, asked)
        except (psycopg.DataError, psycopg.errors.CheckViolation) as error:
            raise BadInput(f"these hours and this capacity cannot be: {error.diag.message_primary}") from None


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


def _observer(settings: Settings) -> Metrics:
    if not settings.trace:
        return Metrics()
    from zephyr_lab.orders.tracing import Traced

    return Traced()


async def _serve(
    strategy: Strategy,
    dsn: str,
    redis_url: str | None,
    settings: Settings,
    secured: grpc.ServerCredentials | None,
    connections: dict[str, Any],
    ready: Callable[[str], object],
) -> None:
    host = settings.host
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            clients.async_pool(dsn, min_size=min(10, settings.pool), max_size=settings.pool, **connections)
        )
        redis = await stack.enter_async_context(clients.async_redis_client(redis_url)) if redis_url else None
        metrics = _observer(settings)
        admission = Admission(pool, settings.queue, settings.queue_seconds)
        service = OrderService(pool, strategy, redis, observer=metrics, admission=admission)
        metrics.watch(service, settings.version)
        if settings.metrics_port is not None:
            try:
                server, _ = start_http_server(settings.metrics_port, addr=host, registry=metrics.registry)
            except OSError as error:
                raise BadInput(f"cannot serve metrics on {host}:{settings.metrics_port}: {error.strerror}") from None
            stack.callback(server.shutdown)
        try:
            serving = await stack.enter_async_context(
                Server(service, host, settings.port, credentials=secured, token=settings.token)
            )
        except RuntimeError:
            raise BadInput(f"cannot listen on {host}:{settings.port}: it is taken, or not this machine's") from None
        ready(f"{host}:{serving.port}")
        await stop.wait()
