"""The gRPC API: which answer each ending gets, health, reflection, deadlines, and the command that serves."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import psutil
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.orders.conftest import NOON, Shop
from zephyr_lab.errors import BadInput
from zephyr_lab.orders import clients, schema
from zephyr_lab.orders.errors import NotInstalled
from zephyr_lab.orders.grpc import PizzaOrderRequest, Server, create_order_stub, guard, messages, process
from zephyr_lab.orders.grpc.messages import COMPILED
from zephyr_lab.orders.models import Status
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.strategies import strategy

CODE = grpc.StatusCode
REQUEST = {"customer_id": 1, "pizza_name": "Margherita", "quantity": 1}


@asynccontextmanager
async def served(
    shop: Shop, name: str = "one-statement", now: datetime = NOON, redis_url: str | None = None, **settings: Any
) -> AsyncIterator[tuple[OrderService, grpc.aio.Channel]]:
    """A service with its API, and a channel to it."""
    async with (
        clients.async_pool(shop.dsn, **{"min_size": 1, **settings}) as pool,
        clients.async_redis_client(redis_url or shop.redis_url) as redis,
    ):
        service = OrderService(pool, strategy(name), redis)
        serving = Server(service, clock=lambda: now, health_seconds=0.1)
        async with serving, grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
            yield service, channel


@asynccontextmanager
async def exhausted(service: OrderService) -> AsyncIterator[None]:
    """Its one connection is taken, and nobody waits for it for long."""
    async with service.pool.connection():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service.pool, "timeout", 0.1)
            yield


async def told(channel: Any, request: Any = None, timeout: float = 10, **metadata: str) -> Any:
    """The answer, or the status with its details and the field that it names."""
    stub = create_order_stub(channel)
    request = PizzaOrderRequest(**REQUEST) if request is None else request
    if isinstance(request, bytes):
        stub = channel.unary_unary("/order.OrderService/CreateOrder")
    try:
        pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        return await stub(request, timeout=timeout, metadata=pairs)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details(), dict(tuple(error.trailing_metadata() or ())).get("field")


def test_an_order_over_the_wire_is_saved_once(shop: Shop) -> None:
    """With the key of a client that sends it again; the answer is the same."""

    async def scenario() -> None:
        async with served(shop) as (_, channel):
            key = str(uuid4())
            first, again = [await told(channel, idempotency_key=key) for _ in range(2)]
            assert first == again
            assert (first.order_id, first.status, len(first.display_id)) == (key, "pending", 4)
            assert (await told(channel)).order_id != key
            other = PizzaOrderRequest(**{**REQUEST, "quantity": 2})
            assert (await told(channel, other, idempotency_key=key))[::2] == (CODE.INVALID_ARGUMENT, "id")

    asyncio.run(scenario())
    assert shop.count() == 2


def test_an_order_is_found_and_cancelled_and_slots_are_listed(shop: Shop) -> None:
    """By PostgreSQL's orders, also where Redis has the places; cancelled once, and what is not there is NOT_FOUND."""

    async def scenario(name: str, key: str) -> None:
        async with served(shop, name) as (service, channel):
            get, cancel, slots = (messages.stub(channel, call) for call in ("GetOrder", "CancelOrder", "ListSlots"))
            await told(channel, idempotency_key=key)
            asked = messages.OrderRequest(order_id=key)
            found = await get(asked)
            start = int(NOON.timestamp())
            assert (found.order_id, found.status, found.slot_start, found.created_at) == (key, "pending", start, start)
            every = (await slots(messages.SlotsRequest())).slots
            taken = [(one.slot_id, one.taken, one.capacity, one.end - one.start) for one in every if one.taken]
            assert taken == [(found.slot_id, found.final_price, 100_000, 900)]
            assert len(every) == 48
            for _ in range(2):
                assert (await cancel(asked)).status == "cancelled"
            assert not any(one.taken for one in (await slots(messages.SlotsRequest(day=f"{NOON:%Y-%m-%d}"))).slots)
            await service.set_status(UUID(key), Status.ARCHIVED)
            for call, request, code in (
                (get, messages.OrderRequest(order_id=str(uuid4())), CODE.NOT_FOUND),
                (cancel, messages.OrderRequest(order_id=str(uuid4())), CODE.NOT_FOUND),
                (cancel, asked, CODE.FAILED_PRECONDITION),
                (get, messages.OrderRequest(order_id="7"), CODE.INVALID_ARGUMENT),
                (slots, messages.SlotsRequest(day="today"), CODE.INVALID_ARGUMENT),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(request)
                assert refused.value.code() is code

    for name in ("one-statement", "redis-lua-idempotent"):
        asyncio.run(scenario(name, str(uuid4())))
        assert shop.wrong(name) == []


BAD: dict[str, tuple[Any, str]] = {
    "an unknown pizza": ({"pizza_name": "Cheesecake"}, "pizza_name"),
    "no pizza": ({"pizza_name": ""}, "pizza_name"),
    "no quantity": ({"quantity": 0}, "quantity"),
    "a negative quantity": ({"quantity": -1}, "quantity"),
    "a quantity of all ints": ({"quantity": 2**31 - 1}, "quantity"),
    "a negative customer": ({"customer_id": -1}, "customer_id"),
    "a NUL": ({"customer_first_name": "a\x00b"}, "customer_first_name"),
    "too many extras": ({"extras": ["x"] * 51}, "extras"),
    "10 MB of extras": ({"extras": ["x" * 500] * 20_000}, "request"),
}


def test_bad_input_is_named_by_field_and_writes_nothing(shop: Shop) -> None:
    """Bytes that are no UTF-8 and bytes that are no message too; quotes and SQL in a name are a name."""

    async def scenario() -> None:
        async with served(shop) as (_, channel):
            for name, (change, field) in BAD.items():
                answer = await told(channel, PizzaOrderRequest(**{**REQUEST, **change}))
                assert answer[::2] == (CODE.INVALID_ARGUMENT, field), (name, answer)
            for noise in (b"\xff\xff\xff", PizzaOrderRequest(**REQUEST).SerializeToString() + b"\x32\x02\xff\xfe"):
                assert (await told(channel, noise))[::2] == (CODE.INVALID_ARGUMENT, "request")
            assert (await told(channel, idempotency_key="7"))[::2] == (CODE.INVALID_ARGUMENT, "idempotency-key")
            assert shop.count() == shop.count("order_ids") == 0
            assert sum(one.booked for one in shop.money()) == 0
            name = "Robert'); drop table orders;--\""
            assert (await told(channel, PizzaOrderRequest(**REQUEST, customer_first_name=name))).status == "pending"
            assert shop.admin.execute("select customer_first_name from orders").fetchone() == (name,)

    asyncio.run(scenario())


def test_full_closed_missing_and_unreachable_are_different_answers(shop: Shop) -> None:
    """Full is RESOURCE_EXHAUSTED, and nothing else is; a driver's text stays in the log."""

    async def scenario() -> None:
        async with served(shop, max_size=1) as (service, channel):
            shop.admin.execute("update slots set is_disabled = true")
            assert (await told(channel))[0] is CODE.RESOURCE_EXHAUSTED
            shop.admin.execute("update slots set is_disabled = false")
            with schema.missing_table(shop.admin):
                assert (await told(channel))[0] is CODE.INTERNAL
            async with exhausted(service):
                assert (await told(channel))[0] is CODE.UNAVAILABLE
            assert (await told(channel)).status == "pending"
        async with served(shop, now=NOON.replace(hour=22)) as (_, channel):
            assert (await told(channel))[0] is CODE.FAILED_PRECONDITION
        async with served(shop, "redis-lua-idempotent", redis_url="unix:///nowhere.sock") as (_, channel):
            assert (await told(channel))[0] is CODE.UNAVAILABLE

    asyncio.run(scenario())
    assert shop.count() == 1


def test_a_deadline_ends_the_wait_for_a_lock_and_leaves_nothing_behind(shop: Shop) -> None:
    """The client is told at its deadline; the statement is cancelled, the connection is good, no place is taken."""

    async def scenario() -> None:
        async with served(shop, "select-for-update") as (_, channel):
            assert (await told(channel)).status == "pending"
            with shop.connect() as holder:
                holder.execute("select from slots for update")
                assert (await told(channel, timeout=0.3))[0] is CODE.DEADLINE_EXCEEDED
                waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
                for _ in range(100):
                    if shop.admin.execute(waiting).fetchone() == (0,):
                        break
                    await asyncio.sleep(0.05)
                assert shop.admin.execute(waiting).fetchone() == (0,)
            assert (await told(channel)).status == "pending"

    asyncio.run(scenario())
    assert shop.count() == 2
    assert shop.wrong("select-for-update") == []


def test_it_ends_although_a_cancellation_is_lost(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a library that waits with Python 3.11's `wait_for`."""

    async def scenario() -> None:
        asked, times = asyncio.Event(), []

        async def ping() -> None:
            times.append(1)
            asked.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60 if len(times) == 1 else 0)

        async with asyncio.timeout(5), served(shop) as (service, _):
            monkeypatch.setattr(service, "ping", ping)
            await asked.wait()
        assert len(times) == 1

    asyncio.run(scenario())


def test_health_is_that_of_a_service_that_can_write(shop: Shop) -> None:
    """A server that became read-only is not ready; orders are told so, in one line of the log each at most."""

    async def scenario() -> None:
        async with served(shop, max_size=1) as (service, channel):
            stub = health_pb2_grpc.HealthStub(channel)
            watched = stub.Watch(health_pb2.HealthCheckRequest(service="order.OrderService"))
            assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
            name = shop.admin.info.dbname
            shop.admin.execute(f"alter database {name} set default_transaction_read_only = on")
            try:
                async with service.pool.connection() as connection:  # the only one; the next one is read-only
                    await connection.close()
                assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
                assert (await told(channel))[0] is CODE.UNAVAILABLE
            finally:
                shop.admin.execute(
                    f"set transaction_read_only = off; alter database {name} reset default_transaction_read_only"
                )
            watched.cancel()

    asyncio.run(scenario())
    assert shop.count() == 0


def test_what_is_missing_is_one_line_of_the_log(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """With the SQLSTATE and no traceback."""

    async def scenario() -> None:
        async with served(shop) as (_, channel):
            with schema.missing_table(shop.admin):
                assert (await told(channel))[0] is CODE.INTERNAL

    asyncio.run(scenario())
    (line,) = (one for one in caplog.records if one.name.startswith("zephyr_lab.orders.grpc"))
    assert (line.levelname, line.exc_info, "42P01" in line.getMessage()) == ("ERROR", None, True)


def test_health_is_that_of_the_servers_and_reflection_names_the_service(shop: Shop) -> None:
    """SERVING, then NOT_SERVING when all connections are gone; a tool finds CreateOrder's fields."""

    async def scenario() -> None:
        async with served(shop, max_size=1) as (service, channel):
            stub = health_pb2_grpc.HealthStub(channel)
            watched = stub.Watch(health_pb2.HealthCheckRequest(service="order.OrderService"))
            assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
            async with exhausted(service):
                assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
            watched.cancel()
            asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="order.OrderService")
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
            answer = await call.read()
            assert b"pickup_location_id" in answer.file_descriptor_response.file_descriptor_proto[0]

    asyncio.run(scenario())


def test_the_committed_form_is_order_proto_compiled(tmp_path: Path) -> None:
    """By whatever compiler is installed."""
    made = tmp_path / "order.binpb"
    folder = COMPILED.parent
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={made}"]
    subprocess.run([*command, str(folder / "order.proto")], check=True)
    assert made.read_bytes() == COMPILED.read_bytes()


def test_a_token_is_asked_for_over_tls_and_health_is_told_without(shop: Shop, tmp_path: Path) -> None:
    """A wrong one is UNAUTHENTICATED and writes nothing, for a stream too; a client without TLS is not let in."""
    cert, key = certificate(tmp_path)

    async def scenario() -> None:
        async with clients.async_pool(shop.dsn, min_size=1, max_size=1) as pool:
            service = OrderService(pool, strategy("one-statement"))
            secured = guard.credentials(cert, key)
            server = Server(service, clock=lambda: NOON, credentials=secured, token="s3cret", health_seconds=60)
            trusted = grpc.ssl_channel_credentials(cert.read_bytes())
            where = f"localhost:{server.port}"
            async with server, grpc.aio.secure_channel(where, trusted) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
                for given in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "s3cret"}):
                    assert (await told(channel, **given))[0] is CODE.UNAUTHENTICATED
                asked = reflection_pb2.ServerReflectionRequest(list_services="")
                call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
                with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
                    await call.read()
                assert shop.count() == 0
                assert (await told(channel, authorization="Bearer s3cret")).status == "pending"
            async with server_again(service, secured) as again, grpc.aio.insecure_channel(again) as plain:
                assert (await told(plain, timeout=3))[0] in (CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED)

    asyncio.run(scenario())
    assert shop.count() == 1


@asynccontextmanager
async def server_again(service: OrderService, secured: grpc.ServerCredentials) -> AsyncIterator[str]:
    """Its address."""
    async with Server(service, credentials=secured, health_seconds=60) as server:
        yield f"127.0.0.1:{server.port}"


def certificate(folder: Path) -> tuple[Path, Path]:
    """For localhost, signed by itself."""
    program, cert, key = shutil.which("openssl"), folder / "cert.pem", folder / "key.pem"
    if program is None:
        pytest.skip("there is no openssl to make a certificate with")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([program, *words], check=True, capture_output=True)
    return cert, key


def test_beyond_loopback_nothing_is_served_without_both() -> None:
    """By address and by name; a name may be any machine's."""
    for host in ("127.0.0.1", "localhost", "::1", "[::1]"):
        guard.check_reach(host, tls=False, token=None)
    for host in ("0.0.0.0", "::", "10.0.0.7", "shop.example"):
        guard.check_reach(host, tls=True, token="x")
        for tls, token, lacks in ((False, "x", "--tls-cert"), (True, None, "ZEPHYR_LAB_TOKEN"), (True, "", "TOKEN")):
            with pytest.raises(BadInput, match=lacks):
                guard.check_reach(host, tls=tls, token=token)


def test_hours_and_capacity_are_written_into_the_plans(shop: Shop) -> None:
    """For days to come; hours that are none are refused, and what is not named stays."""
    one = strategy("one-statement")
    process._prepare(one, shop.dsn, process.Settings(opens="09:30", capacity=5_000))
    found = shop.admin.execute("select distinct opens::text, closes::text, capacity from slot_plans").fetchall()
    assert found == [("09:30:00", "22:00:00", 5_000)]
    for bad in ({"opens": "late"}, {"closes": "25:61"}):
        with pytest.raises(BadInput, match="these hours"):
            process._prepare(one, shop.dsn, process.Settings(**bad))


@pytest.mark.server
def test_serve_serves_on_servers_of_its_own_and_ends_in_order() -> None:
    """On loopback, with metrics of what it did; SIGTERM ends it with 0."""
    program = [str(Path(sys.executable).with_name("zephyr-lab")), "serve", "--strategy", "redis-lua-idempotent"]
    program += ["--port", "0", "--metrics-port", "0"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=clean) as process:
        try:
            assert process.stdout
            where = process.stdout.readline().split()[-1]
            assert where.startswith("127.0.0.1:")
            with grpc.insecure_channel(where) as channel:
                done = create_order_stub(channel).future(PizzaOrderRequest(**REQUEST), timeout=20)
                assert done.exception() is None or done.code() is CODE.FAILED_PRECONDITION, "closed at night"
            listens = {
                one.laddr.port for one in psutil.Process(process.pid).net_connections() if one.status == "LISTEN"
            }
            (port,) = listens - {int(where.rpartition(":")[2])}
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                text = answer.read().decode()
            assert f"orders_attempts_total {1.0 if done.code() is CODE.OK else 0.0}" in text
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.thorough
def test_serve_says_what_is_missing(shop: Shop) -> None:
    """No tables, no Redis, an unknown strategy: a line each, and exit 2."""
    program = str(Path(sys.executable).with_name("zephyr-lab"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}
    empty = psycopg.conninfo.make_conninfo(shop.dsn, dbname="template1")
    for words, said in (
        (["--strategy", "hope"], "unknown strategy 'hope'"),
        (["--dsn", empty], "add --install"),
        (["--dsn", shop.dsn, "--strategy", "redis-lua"], "name one with --redis-url"),
        (["--dsn", shop.dsn, "--host", "0.0.0.0"], "reached from other machines: add --tls-cert"),
        (["--dsn", shop.dsn, "--tls-cert", "x.pem"], "a certificate and its key come together"),
        (["--dsn", shop.dsn, "--log-format", "xml"], "unknown log_format 'xml'"),
        (["--dsn", shop.dsn, "--capacity", "-1"], "capacity"),
    ):
        done = subprocess.run([program, "serve", *words], capture_output=True, text=True, timeout=60, env=clean)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_servers_that_cannot_be_served_are_told_by_what_is_wrong(shop: Shop) -> None:
    """A stranger's tables, a part of ours, a role without rights, slots that a strategy does not know; never a driver's
    error."""
    one, fixed = strategy("one-statement"), strategy("redis-lua")
    process._prepare(one, shop.dsn, process.Settings(install=True))
    process._prepare(fixed, shop.dsn, process.Settings(install=False))
    shop.admin.execute("update slots set is_disabled = true where start_time = %s", [NOON])
    with pytest.raises(BadInput, match=r"redis-lua has a capacity of 100000 roubles in .*slot:\d+ is otherwise"):
        process._prepare(fixed, shop.dsn, process.Settings(install=False))
    shop.admin.execute("create role nobody_in_particular login password 'x'; create schema stranger")
    other = psycopg.conninfo.make_conninfo(shop.dsn, options="-csearch_path=stranger")
    try:
        weak = psycopg.conninfo.make_conninfo(other, user="nobody_in_particular", password="x")
        with pytest.raises(NotInstalled, match=r"permission denied|no schema has been selected"):
            process._prepare(one, weak, process.Settings(install=True))
        with pytest.raises(NotInstalled, match=r'relation "orders" does not exist.*--install'):
            process._prepare(one, other, process.Settings(install=False))
        shop.admin.execute("create table stranger.orders (id int)")
        for install in (True, False):
            with pytest.raises(NotInstalled, match='column "display_id" does not exist'):
                process._prepare(one, other, process.Settings(install=install))
        shop.admin.execute("drop table stranger.orders")
        process._prepare(one, other, process.Settings(install=True))
        shop.admin.execute("drop table stranger.slot_epochs")
        with pytest.raises(NotInstalled, match='relation "slot_epochs" does not exist'):
            process._prepare(one, other, process.Settings(install=True))
    finally:
        shop.admin.execute("drop schema stranger cascade; drop role nobody_in_particular")
