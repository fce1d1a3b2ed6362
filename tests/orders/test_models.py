"""What may be in an order: a bad value is refused by the name of its field, what is accepted is saved as it is."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from tests.orders.conftest import NOON, Shop, order
from zephyr_lab.orders.errors import InvalidOrder, NotInstalled
from zephyr_lab.orders.models import LARGEST_INT, LONGEST_TEXT, Item, Order, Slot, Status, customers, menu
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.statements import insert_order

ITEM: dict[str, Any] = {"pizza_name": "Margherita", "quantity": 1, "price": 450}

BAD_ITEMS = [
    ("price", 0), ("price", -1), ("price", 2**31), ("price", 450.0), ("price", "450"), ("price", None),
    ("quantity", 0), ("quantity", math.nan), ("quantity", 1.5), ("quantity", True), ("quantity", 1001),
    ("pizza_name", ""), ("pizza_name", "Cheesecake"), ("size", "large"),
    ("pizza_name", b"\xff\xfe"), ("pizza_name", "\x00"), ("pizza_name", "\ud800"),
    ("extras", ["x" * (LONGEST_TEXT + 1)]), ("extras", ["x"] * 51), ("ingredient_amounts", {"cheese": -1}),
]  # fmt: skip

BAD_ORDERS = [
    ("customer_id", -1), ("customer_id", 2**31), ("customer_first_name", b"\xff"), ("customer_first_name", "a\x00b"),
    ("notes", "x" * 10_000_000), ("is_pickup", 1), ("discount_amount", 450), ("discount_amount", -1),
    ("discount_amount", 1.5), ("discount_percent", 100), ("colour", "red"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD_ITEMS, ids=str)
def test_a_bad_item_is_refused_by_field(field: str, value: Any) -> None:
    """Nothing is converted on the quiet."""
    with pytest.raises(InvalidOrder) as refused:
        Item.checked(**{**ITEM, field: value})
    assert refused.value.field.split(".")[0] == field


@pytest.mark.parametrize(("field", "value"), BAD_ORDERS, ids=lambda value: str(value)[:20])
def test_a_bad_order_is_refused_by_field(field: str, value: Any) -> None:
    """A discount of everything is one of the price."""
    with pytest.raises(InvalidOrder) as refused:
        order(450, **{field: value})
    assert refused.value.field in (field, "final_price" if field == "discount_amount" else field)


def test_an_unknown_pizza_no_items_and_too_many_are_refused() -> None:
    """And a sum that no int holds."""
    with pytest.raises(InvalidOrder, match="'Cheesecake' is not on the menu"):
        Item.checked(**{**ITEM, "pizza_name": "Cheesecake"})
    one = Item.checked(**ITEM)
    for items, field in (([], "items"), ([one] * 101, "items")):
        with pytest.raises(InvalidOrder) as refused:
            Order.of(items, id=UUID(int=1), now=NOON, customer_id=1)
        assert refused.value.field in (field, "total_price")
    dear = Item.checked(**{**ITEM, "price": LARGEST_INT, "quantity": 2})
    with pytest.raises(InvalidOrder) as refused:
        Order.of([dear], id=UUID(int=1), now=NOON, customer_id=1)
    assert refused.value.field == "total_price"


def test_a_time_without_a_zone_is_refused() -> None:
    """It could be any of forty moments."""
    with pytest.raises(InvalidOrder) as refused:
        order(450, now=datetime(2026, 3, 2, 18))
    assert refused.value.field == "created_at"


def test_statuses_come_before_each_other_in_one_direction_only() -> None:
    """Whatever may become another thing may not be come back to."""
    for one in Status:
        for other in Status:
            assert not (one in other.before and other in one.before)
            assert one not in one.before
    assert Status.CANCELLED not in Status.DELIVERED.before


def test_menu_and_customers_can_be_ordered_with() -> None:
    """All of them, with the ingredients of the menu."""
    for customer in customers():
        items = [
            Item.checked(quantity=1, **one, ingredients=list(one["ingredient_amounts"])) for one in menu().values()
        ]
        assert Order.of(items, id=UUID(int=1), now=NOON, **customer).total_price == sum(
            m["price"] for m in menu().values()
        )


texts = some.text(max_size=60) | some.sampled_from(
    ["'; drop table orders; --", '"', "%s", "{}", "\\", "O'Connor", "Дарья", "🍕"]
)
numbers = some.integers(-(2**40), 2**40) | some.sampled_from([0, 1, LARGEST_INT, LARGEST_INT + 1])
anything = numbers | texts | some.none() | some.booleans() | some.floats() | some.binary(max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    item=some.fixed_dictionaries(
        {
            "pizza_name": some.sampled_from([*menu()]) | anything,
            "quantity": some.integers(1, 3) | anything,
            "price": some.integers(1, 90_000) | anything,
        },
        optional={
            "extras": some.lists(texts, max_size=3),
            "ingredient_amounts": some.dictionaries(texts, numbers, max_size=2),
        },
    ),
    fields=some.fixed_dictionaries(
        {"customer_id": some.integers(0, 9) | anything},
        optional={
            "customer_first_name": texts | anything,
            "notes": texts,
            "delivery_address": texts,
            "is_pickup": some.booleans(),
        },
    ),
)
@example(item={**ITEM, "extras": ["'; drop table orders; --"]}, fields={"customer_id": 1, "notes": '"%s'})
def test_an_order_is_refused_by_field_or_saved_as_it_is(shop: Shop, item: Any, fields: Any) -> None:
    """Never anything in between, and never a database error: what passes the check can be stored."""
    before, refused = shop.count(), None
    try:
        wanted = Order.of([Item.checked(**item)], id=order(1).id, now=NOON, **fields)
    except InvalidOrder as error:
        refused = error
    if refused is not None:
        assert refused.field
        assert shop.count() == before
        return
    with shop.connect() as connection:
        session = Session(connection)

        async def save() -> None:
            async with session.transaction():
                await insert_order(session, wanted, Slot.at(NOON))

        run_sync(save())
    row = shop.admin.execute(
        "select items, customer_first_name, notes, delivery_address, final_price from orders where id = %s", [wanted.id]
    ).fetchone()
    expected = wanted.row()
    assert row == (
        expected["items"].obj,
        wanted.customer_first_name,
        wanted.notes,
        wanted.delivery_address,
        wanted.final_price,
    )


def test_a_month_without_partition_is_named_and_nothing_is_written(shop: Shop) -> None:
    """In the past as in the future; not even the id is taken."""
    with shop.service("one-statement") as service:
        for now in (NOON.replace(year=NOON.year - 1), NOON.replace(year=NOON.year + 3)):
            with pytest.raises(NotInstalled, match="created_at"):
                run_sync(service.create(order(450, now=now)))
    assert shop.count() == shop.count("order_ids") == 0
