"""OrderService on real servers: one order, an order that comes twice, one that may not be, and what becomes of it."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import redis
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tests.orders.conftest import NOON, Shop, order
from zephyr_lab.orders import schema
from zephyr_lab.orders.errors import (
    AlreadyCreated,
    Closed,
    InvalidOrder,
    NotInstalled,
    OrderUnknown,
    OrderVoided,
    ServiceUnavailable,
    SettingsRefused,
    SlotsFull,
    StatusRefused,
    TimedOut,
)
from zephyr_lab.orders.metrics import Metrics
from zephyr_lab.orders.models import Plan, Slot, Status
from zephyr_lab.orders.reconcile import reconcile
from zephyr_lab.orders.service import POOL, OrderService
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import STRATEGIES, Load, strategy
from zephyr_lab.servers import keyvalue

WHOLE = [name for name, one in STRATEGIES.items() if one.idempotent]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_books_the_first_slot_and_then_the_next(shop: Shop, name: str) -> None:
    """And every column of the order comes back as it went in; nothing else is left open or differs."""
    first, second = order(60_000, notes="a 'quoted' \"note\"; drop table orders"), order(60_000)
    with shop.service(name) as service:
        created = run_sync(service.create(first))
        assert (created.slot, created.is_new) == (Slot.at(NOON), True)
        assert run_sync(service.create(second)).slot == Slot.at(NOON + timedelta(minutes=15))
    columns = ", ".join(first.row())
    row = shop.admin.execute(f"select {columns} from orders where id = %s", [first.id]).fetchone()
    saved = dict(zip(first.row(), row or (), strict=True))
    expected = first.placed(Slot.at(NOON)).row()
    assert saved.pop("items") == expected.pop("items").obj
    assert saved == expected
    if not strategy(name).documentation.startswith("Ask Redis") and "documented" not in strategy(name).documentation:
        assert shop.wrong(name) == []


@pytest.mark.parametrize("name", WHOLE)
def test_an_order_that_comes_twice_is_booked_once(shop: Shop, name: str) -> None:
    """One after the other and at the same moment, with another created_at; with another content it is refused."""
    first = order(5_000)
    again = first.model_copy(update={"created_at": first.created_at + timedelta(seconds=1)})
    told: list[Any] = []
    with shop.service(name) as service:
        threads = [
            threading.Thread(target=lambda one=one: told.append(run_sync(service.create(one))))
            for one in [first, again] * 3
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [one.is_new for one in told].count(True) == 1
        assert len({(one.order_id, one.slot) for one in told}) == 1
        with pytest.raises(InvalidOrder, match="taken by an order with another content") as refused:
            run_sync(service.create(order(5_000, number=first.id.int, notes="other")))
        assert refused.value.field == "id"
    assert shop.count() == shop.count("order_ids") == 1
    assert shop.wrong(name) == []


@pytest.mark.parametrize("name", [name for name in WHOLE if STRATEGIES[name].load is not Load.REDIS])
def test_a_full_day_is_said_to_be_full_and_nothing_is_written(shop: Shop, name: str) -> None:
    """The id may be used again."""
    shop.admin.execute("update slots set capacity_override = 100")
    wanted = order(5_000)
    with shop.service(name) as service:
        with pytest.raises(SlotsFull):
            run_sync(service.create(wanted))
        assert shop.count() == shop.count("order_ids") == 0
        shop.admin.execute(
            "update slots set capacity_override = null, is_disabled = start_time < %s", [NOON + timedelta(hours=1)]
        )
        assert run_sync(service.create(wanted)).slot.start == NOON + timedelta(hours=1)


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_order_that_is_saved_is_said_to_be_when_slots_are_full_and_after_closing(shop: Shop, name: str) -> None:
    """It may be this very order that has filled the last slot; and a client asks again when it likes."""
    evening = NOON.replace(hour=21, minute=40)
    wanted = order(60_000, now=evening)
    late = wanted.model_copy(update={"created_at": NOON.replace(hour=23)})
    with shop.service(name) as service:
        first = run_sync(service.create(wanted))
        for again in (wanted, late):
            told = run_sync(service.create(again))
            assert (told.slot, told.is_new) == (first.slot, False)
        with pytest.raises(SlotsFull):
            run_sync(service.create(order(60_000, now=evening)))
        with pytest.raises(Closed):
            run_sync(service.create(order(60_000, now=late.created_at)))
        with pytest.raises(InvalidOrder, match="another content"):
            run_sync(service.create(order(60_000, number=wanted.id.int, now=late.created_at, notes="other")))
    assert shop.count() == 1


def test_an_order_with_a_slot_is_saved_at_a_chosen_level(shop: Shop) -> None:
    """Once: an id that is taken is refused."""
    slot = Slot.at(NOON)
    with shop.service("one-statement") as service:
        for level in (None, psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.SERIALIZABLE):
            one = order(450)
            run_sync(service.save_order(one, slot, level))
            with pytest.raises(AlreadyCreated):
                run_sync(service.save_order(one, slot, level))
    assert shop.count() == 3


def test_overrides_and_disabled_slots_reach_redis(shop: Shop) -> None:
    """They are PostgreSQL's, published when the day is opened."""
    shop.admin.execute("update slots set capacity_override = 100 where start_time = %s", [NOON])
    shop.admin.execute("update slots set is_disabled = true where start_time = %s", [NOON + timedelta(minutes=15)])
    with shop.service("redis-lua-idempotent") as service:
        assert run_sync(service.create(order(450))).slot.start == NOON + timedelta(minutes=30)
    info = run_sync(RedisSlots(shop.redis).slot_info(Slot.at(NOON)))
    assert (info.booked, info.capacity, info.is_disabled) == (0, 100, False)


@pytest.mark.parametrize("name", ["one-statement", "server-side-function", "redis-lua-idempotent"])
def test_slots_are_those_of_the_plan_and_the_table(shop: Shop, name: str) -> None:
    """Of 20 minutes, early and late; one that was added by hand; and no other, though the day looks so by default."""
    shop.admin.execute("delete from slots; update slot_plans set opens = '05:00', closes = '23:20', minutes = 20")
    shop.admin.execute("update slot_plans set capacity = 450")
    at = NOON.replace
    with shop.service(name) as service:
        first = [run_sync(service.create(order(450, now=at(hour=3)))).slot.start for _ in range(2)]
        assert first == [at(hour=5), at(hour=5, minute=20)]
        assert run_sync(service.create(order(450, now=at(hour=23, minute=12)))).slot.start == at(hour=23)
        with pytest.raises(Closed, match="the last one starts at 23:00 UTC"):
            run_sync(service.create(order(450, now=at(hour=23, minute=13))))
        shop.admin.execute("delete from slot_plans")
        shop.admin.execute("delete from slots where start_time > %s and start_time < %s", [at(hour=6), at(hour=23)])
    added = at(hour=23, minute=25)
    row = "insert into slots (id, start_time, end_time, planned_capacity) values (%s, %s, %s, 450)"
    shop.admin.execute(row, [Slot.at(added).id, added, added + timedelta(minutes=30)])
    shop.redis.flushall()
    with shop.service(name) as service:
        assert run_sync(service.create(order(450, now=at(hour=23, minute=30)))).slot.start == added
        with pytest.raises(Closed, match="it has none"):
            run_sync(service.create(order(450, now=NOON + timedelta(days=1))))
    assert shop.wrong(name) == []


FIXED = [name for name, one in STRATEGIES.items() if one.capacity is not None]


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("change", ["capacity_override = 10000", "is_disabled = true"])
def test_nothing_is_sold_on_settings_that_a_strategy_does_not_look_at(shop: Shop, name: str, change: str) -> None:
    """Its capacity is in its code."""
    shop.admin.execute(f"update slots set {change} where start_time = %s", [NOON + timedelta(hours=2)])
    with shop.service(name) as service, pytest.raises(SettingsRefused, match=r"100000 roubles in its code.*14:00 UTC"):
        run_sync(service.create(order(450)))
    assert shop.count() == 0


@pytest.mark.parametrize("name", WHOLE)
def test_a_cancelled_order_gives_its_place_back_once(shop: Shop, name: str) -> None:
    """Whatever the strategy keeps its load in."""
    with shop.service(name) as service:
        kept, gone = run_sync(service.create(order(60_000))), run_sync(service.create(order(40_000)))
        assert run_sync(service.cancel(gone.order_id)) is True
        assert run_sync(service.cancel(gone.order_id)) is False
        run_sync(service.set_status(gone.order_id, Status.ARCHIVED))
        assert run_sync(service.create(order(40_000))).slot == kept.slot
    assert shop.wrong(name) == []
    assert sum(one.orders for one in shop.money()) == 100_000


def test_a_status_goes_forward_only(shop: Shop) -> None:
    """Every pair of statuses, against the rule in words; a late CreateOrder does not walk an order back."""
    with shop.service("one-statement") as service:
        created = order(450)
        run_sync(service.create(created))
        with pytest.raises(OrderUnknown):
            run_sync(service.set_status(order(1).id, Status.READY))
        for status in (Status.PREPARING, Status.READY, Status.DELIVERED):
            run_sync(service.set_status(created.id, status))
        for status in (Status.PENDING, Status.COOKING, Status.CANCELLED):
            with pytest.raises(StatusRefused, match=f"is delivered, and cannot become {status}"):
                run_sync(service.set_status(created.id, status))
        assert run_sync(service.create(created)).status is Status.DELIVERED
        run_sync(service.set_status(created.id, Status.ARCHIVED))
    row = shop.admin.execute("select status, completed_at is null, cancelled_at is null from orders").fetchone()
    assert row == ("archived", False, True)


def test_asyncio_runs_the_same_source(shop: Shop) -> None:
    """A hundred orders at once, on asyncio connections and redis-py's asyncio client."""

    async def scenario() -> None:
        async with (
            AsyncConnectionPool(shop.dsn, **POOL) as pool,
            keyvalue.async_client(shop.redis_url) as redis,
        ):
            for name in ("one-statement", "redis-lua-idempotent"):
                metrics = Metrics()
                service = OrderService(pool, strategy(name), redis, observer=metrics)
                created = await asyncio.gather(*(service.create(order(3_000)) for _ in range(50)))
                assert all(one.is_new for one in created)
                assert metrics.value("orders_outcomes_total", outcome="created") == 50
                assert metrics.value("orders_transaction_seconds_count") >= 50

    asyncio.run(scenario())
    assert shop.count() == 100
    assert sum(one.orders for one in shop.money()) == 300_000


def test_what_is_missing_is_named(shop: Shop) -> None:
    """A partition, a table, a grant; nothing is written, and the order is taken when it is there again."""
    month = f"orders_{NOON:%Y_%m}"
    wanted = order(450)
    with shop.service("one-statement") as service:
        for condition, said in (
            (schema.missing_partition(shop.admin, month), "zephyr-lab partitions ensure"),
            (schema.missing_table(shop.admin), "are not all there"),
        ):
            with condition, pytest.raises(NotInstalled, match=said):
                run_sync(service.create(wanted))
        assert shop.count("order_ids") == 0
        assert run_sync(service.create(wanted)).is_new


def test_a_role_without_rights_is_told_so(shop: Shop) -> None:
    """As pizza_admin, which may do all with its grants, in a partition too that is made later."""
    shop.admin.execute(schema.statement("role"))
    with shop.service("one-statement", configure=_as_pizza_admin) as service:
        shop.admin.execute("revoke select, insert, update, delete on orders from pizza_admin")
        with pytest.raises(NotInstalled, match=r"sql/orders/role\.sql"):
            run_sync(service.create(order(450)))
        shop.admin.execute("grant select, insert, update, delete on orders to pizza_admin")
        assert run_sync(service.create(order(450))).is_new
    with psycopg.connect(shop.dsn) as connection:
        shop.admin.execute("select ensure_orders_partitions(4)")
        connection.execute("set role pizza_admin")
        names = connection.execute(
            "select inhrelid::regclass::text from pg_inherits where inhparent = 'orders'::regclass"
        )
        for (name,) in names.fetchall():
            connection.execute(f"select from {name}")


def _as_pizza_admin(connection: psycopg.Connection[Any]) -> None:
    connection.execute("set role pizza_admin")
    connection.commit()


def test_the_clock_decides_which_slots_there_are() -> None:
    """Working hours, the eight-minute rule, and when the kitchen sees the order."""
    plan = Plan()
    at = NOON.replace
    for now, first in (
        (at(hour=3), at(hour=10)),
        (at(minute=0), at(minute=0)),
        (at(minute=7), at(minute=0)),
        (at(minute=7, second=1), at(minute=15)),
        (at(minute=14), at(minute=15)),
        (at(hour=21, minute=52), at(hour=21, minute=45)),
    ):
        assert plan.window(now).first == first, now
    with pytest.raises(Closed):
        plan.window(at(hour=21, minute=53))
    slot = Slot.at(at(hour=18))
    assert slot.visible_at(at(hour=17)) == at(hour=17, minute=30)
    assert slot.visible_at(at(hour=17, minute=40)) == at(hour=18)
    assert len(plan.window(at(hour=9)).slots()) == 48


def test_a_level_does_not_stay_with_a_pooled_connection(shop: Shop) -> None:
    """Who has the connection next has its own."""
    with shop.service("serializable-retry", max_size=1) as service:
        run_sync(service.create(order(450)))
        with service.pool.connection() as connection:
            assert connection.execute("show transaction_isolation").fetchone() == ("read committed",)


def test_time_limits_and_what_cannot_write_are_told_apart(shop: Shop) -> None:
    """By the server's own words; no attempt is the client's error, and each leaves nothing."""
    wanted = order(450)
    for setting in ("statement_timeout=50ms", "lock_timeout=50ms"):
        dsn = psycopg.conninfo.make_conninfo(shop.dsn, options=f"-c {setting}")
        with ConnectionPool(dsn, min_size=1) as pool, shop.connect() as holder:
            service = OrderService(pool, strategy("select-for-update"), Plan(), opened={NOON.date()})
            holder.execute("select from slots for update")
            with pytest.raises(TimedOut, match="timeout"):
                run_sync(service.create(wanted))
    dsn = psycopg.conninfo.make_conninfo(shop.dsn, options="-c default_transaction_read_only=on")
    with ConnectionPool(dsn, min_size=1) as pool:
        with pytest.raises(ServiceUnavailable, match="read-only transaction"):
            run_sync(OrderService(pool, strategy("one-statement")).create(wanted))
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            run_sync(OrderService(pool, strategy("one-statement")).ping())
    shop.open_day()
    shop.redis.config_set("maxmemory", 1)
    try:
        with shop.service("redis-lua-idempotent") as service:
            with pytest.raises(ServiceUnavailable, match="Redis takes no writes"):
                run_sync(service.create(wanted))
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                run_sync(service.ping())
    finally:
        shop.redis.config_set("maxmemory", 0)
    assert shop.count() == shop.count("order_ids") == 0


def test_an_exhausted_pool_is_unavailable_and_loses_nothing(shop: Shop) -> None:
    """Nobody waits for ever; the same order goes through when a connection is free."""
    wanted = order(450)
    with shop.service("one-statement", max_size=1) as service:
        run_sync(service._day(NOON.date()))
        with service.pool.connection(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(service.pool, "timeout", 0.2)
            with pytest.raises(ServiceUnavailable, match="connection of the pool"):
                run_sync(service.create(wanted))
        assert run_sync(service.create(wanted)).is_new
    assert shop.wrong("one-statement") == []


def test_reconcile_says_what_differs_and_repairs_only_when_asked(shop: Shop) -> None:
    """A leak, a lost place, a wrong counter; young places are left alone, and a late order finds its id void."""
    name, late = "redis-lua-idempotent", order(7_000, now=NOON - timedelta(hours=1))
    with shop.service(name) as service, shop.connect() as connection:
        session, slots = Session(connection), RedisSlots(shop.redis)
        kept = order(5_000)
        run_sync(service.create(kept))
        window = Plan().window(NOON)
        run_sync(slots.assign_slot(late.id, 7_000, window, late.created_at))  # the client dies here
        young = order(3_000)
        run_sync(slots.assign_slot(young.id, 3_000, window, young.created_at))
        run_sync(slots.release_slot(kept.id, NOON.date()))
        asked = {"now": NOON + timedelta(seconds=10)}
        said = run_sync(reconcile(session, NOON.date(), slots, **asked))
        assert [one.order_id for one in said] == [late.id, kept.id]
        assert run_sync(reconcile(session, NOON.date(), slots, **asked)) == said, "a dry run changes nothing"
        assert all("would be" in one.remedy for one in said)
        run_sync(reconcile(session, NOON.date(), slots, repair=True, **asked))
        assert run_sync(reconcile(session, NOON.date(), slots, **asked)) == []
        with pytest.raises(OrderVoided):
            run_sync(service.create(late))
        assert run_sync(service.create(young)).is_new
        run_sync(reconcile(session, NOON.date(), slots, repair=True, now=NOON + timedelta(hours=2)))
    assert shop.wrong(name) == []
    assert sum(one.orders for one in shop.money()) == 8_000
