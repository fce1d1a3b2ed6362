"""A small example to run strategies in: one slot with room for one more order, and two or three who want it.

18:00, 100,000 roubles, 95,000 of them taken by an earlier order; each new order is of 3,000. Times and ids are
fixed, so that a schedule decides everything; they are in the far future, because keys in Redis expire after their day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql

from zephyr_lab.orders import schema
from zephyr_lab.orders.documented import DocumentedSlots
from zephyr_lab.orders.models import Item, Order, Slot, Window
from zephyr_lab.orders.session import run_sync
from zephyr_lab.orders.slots import RedisSlots, Setting
from zephyr_lab.orders.strategies import Load, Strategy

NOW = datetime(2099, 3, 2, 17, 0, tzinfo=UTC)
SLOT = Slot.at(datetime(2099, 3, 2, 18, 0, tzinfo=UTC))
WINDOW = Window(first=SLOT.start, last=SLOT.start)
TAKEN, PRICE, CAPACITY = 95_000, 3_000, 100_000
EPOCH = UUID(int=1)

INVARIANT = "select sum(final_price) <= 100000 from orders"
"""True where the slot is not oversold, by the orders themselves and not by any counter."""


def order(number: int, price: int = PRICE) -> Order:
    """An order of one pizza, whose id is this number."""
    items = [Item.checked(pizza_name="Margherita", quantity=1, price=price)]
    return Order.of(items, id=UUID(int=number), now=NOW, customer_id=number)


EARLIER = order(100, TAKEN).placed(SLOT)


def setup_sql(strategy: Strategy, *, partitioned: bool = False) -> str:
    """Tables with the earlier order in them; plain ones unless asked otherwise: their rows are quickly put back."""
    parts = [schema.schema() if partitioned else schema.tables(partitioned=False)]
    if partitioned:
        parts.append("select create_orders_partition(date '2099-03-01');")
    elif strategy.name == "server-side-function":
        parts.append(schema.statement("create_order"))
    elif strategy.name == "redis-lua-idempotent":
        parts.append(schema.statement("slot_epochs"))
    fill: LiteralString = (
        "insert into slots (id, start_time, end_time, booked) values ({id}, {start}, {start}, {taken});"
        "insert into orders select * from jsonb_populate_record(null::orders, {order}::jsonb);"
        "insert into order_ids (id, created_at) values ({order_id}, {now});"
        "insert into slot_ledger values ({id}, 1, {order_id}, {taken}, {taken});"
        "analyze orders, order_ids, slots, slot_ledger;"
    )
    values = {
        "id": SLOT.id,
        "start": SLOT.start.isoformat(),
        "taken": TAKEN,
        "order": EARLIER.model_dump_json(),
        "order_id": str(EARLIER.id),
        "now": NOW.isoformat(),
        "day": SLOT.day.isoformat(),
        "epoch": str(EPOCH),
    }
    if strategy.name == "redis-lua-idempotent":
        fill += "insert into slot_epochs values ({day}, {epoch}); analyze slot_epochs;"
    literals = {name: sql.Literal(value) for name, value in values.items()}
    filled = sql.SQL(fill).format(**literals).as_string(None)
    return "\n".join([*parts, filled])


def fill_redis(strategy: Strategy, client: Any) -> None:
    """Stores the earlier order's roubles where the strategy looks: in the documented keys, or those of `RedisSlots`."""
    if strategy.name == "redis-lua-idempotent":
        _open(client, {EARLIER.id: (SLOT, TAKEN)})
        return
    client.set(SLOT.id, TAKEN)
    client.sadd(f"{SLOT.id}:orders", str(EARLIER.id))
    client.hset(f"order:slot:{EARLIER.id}", mapping={"slot_id": SLOT.id, "price": TAKEN})


def _open(client: Any, orders: dict[UUID, tuple[Slot, int]]) -> None:
    run_sync(RedisSlots(client).open(SLOT.day, str(EPOCH), [Setting(SLOT, CAPACITY, False)], orders))


def setup(strategy: Strategy, *, partitioned: bool = False) -> str | Callable[[Any, Any], None]:
    """The setup for `Lab.explore`: SQL, or a function of a connection and a Redis client."""
    if strategy.load is not Load.REDIS:
        return setup_sql(strategy, partitioned=partitioned)

    def prepare(connection: Any, redis: Any) -> None:
        connection.execute(setup_sql(strategy, partitioned=partitioned))
        fill_redis(strategy, redis)

    return prepare


def booking(strategy: Strategy, number: int) -> Callable[..., Slot | None]:
    """A function that books one order, of a connection, and of a Redis client if the strategy needs one."""
    wanted = order(number)
    if strategy.load is Load.REDIS:
        return lambda conn, redis: strategy.run(conn, wanted, WINDOW, redis)
    return lambda conn: strategy.run(conn, wanted, WINDOW)


def booked_in_redis(prices: Sequence[int]) -> tuple[Callable[[Any, Any], None], list[UUID]]:
    """A setup that books orders of these prices, in the documented keys and in those of `RedisSlots`; and their ids."""
    orders = [order(number + 1, price) for number, price in enumerate(prices)]

    def prepare(connection: Any, redis: Any) -> None:
        _open(redis, {})
        for one in orders:
            run_sync(DocumentedSlots(redis).assign_slot(one.id, one.final_price, WINDOW))
            run_sync(RedisSlots(redis).assign_slot(one.id, one.final_price, WINDOW, NOW))

    return prepare, [one.id for one in orders]
