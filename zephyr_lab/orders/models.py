"""Orders, their items, and the slots of a day: their validation, by pydantic, and their rows."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from typing import Annotated, Any, Self
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from zephyr_lab.orders.errors import Closed, InvalidOrder
from zephyr_lab.shipped import shipped

LARGEST_INT = 2**31 - 1  # PostgreSQL's int, and the wire's int32
MOST_ITEMS, LONGEST_LIST, LONGEST_TEXT = 100, 50, 500


def _storable(text: str) -> str:
    """Rejects what PostgreSQL cannot store as text: NUL and lone surrogates."""
    if "\x00" in text:
        raise ValueError("may not hold a NUL character")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("is not valid Unicode")
    return text


Text = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT), AfterValidator(_storable)]
Names = Annotated[tuple[Name, ...], Field(max_length=LONGEST_LIST, strict=False)]
Positive = Annotated[int, Field(gt=0, le=LARGEST_INT)]
Count = Annotated[int, Field(ge=0, le=LARGEST_INT)]


class Status(StrEnum):
    """In the order in which an order passes them; only orders that are not delivered can be cancelled."""

    PENDING = "pending"
    PREPARING = "preparing"
    COOKING = "cooking"
    READY = "ready"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"

    @property
    def before(self) -> list[str]:
        """The statuses that may precede this one."""
        under_way = [Status.PENDING, Status.PREPARING, Status.COOKING, Status.READY]
        if self is Status.ARCHIVED:
            return [str(Status.DELIVERED), str(Status.CANCELLED)]
        if self is Status.CANCELLED:
            return [str(one) for one in under_way]
        return [str(one) for one in [*under_way, Status.DELIVERED][: [*under_way, Status.DELIVERED].index(self)]]


class _Checked(BaseModel):
    """Converts nothing and accepts no unknown field; InvalidOrder names the first wrong field."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def checked(cls, **fields: Any) -> Self:
        """Raises InvalidOrder."""
        try:
            return cls(**fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "order"
            raise InvalidOrder(field, first["msg"].removeprefix("Value error, ")) from None


def _on_the_menu(name: str) -> str:
    if name not in menu():
        raise ValueError(f"{name[:60]!r} is not on the menu")
    return name


def _sorted(amounts: dict[str, int]) -> dict[str, int]:
    """So that the same order is the same text, and has the same digest."""
    return dict(sorted(amounts.items()))


class Item(_Checked):
    """A pizza of an order: `price` in whole roubles each, `ingredient_amounts` in grams."""

    pizza_name: Annotated[Name, AfterValidator(_on_the_menu)]
    quantity: Annotated[int, Field(gt=0, le=1000)]
    price: Positive
    ingredients: Names = ()
    ingredient_amounts: Annotated[dict[Name, Count], Field(max_length=LONGEST_LIST), AfterValidator(_sorted)] = {}
    extras: Names = ()
    set_name: Text = ""
    is_set_item: bool = False

    @classmethod
    def from_menu(cls, pizza_name: str, quantity: int, **fields: Any) -> Item:
        """An item at the menu's price. Raises InvalidOrder."""
        price = menu().get(pizza_name, {"price": 1})["price"]  # an item that is not on the menu is refused by name
        return cls.checked(pizza_name=pizza_name, quantity=quantity, price=price, **fields)

    @property
    def total(self) -> int:
        """In whole roubles."""
        return self.price * self.quantity


class Slot(_Checked):
    """A slot of 15 minutes by its start; `id` is `slot:<unix start>`."""

    id: str
    start: AwareDatetime

    @classmethod
    def at(cls, start: datetime) -> Slot:
        return cls(id=f"slot:{int(start.timestamp())}", start=start.astimezone(UTC))

    @classmethod
    def of_id(cls, id: str) -> Slot:
        """`slot:1764064800` -> the slot. Raises ValueError."""
        return cls.at(datetime.fromtimestamp(int(id.removeprefix("slot:")), UTC))

    @property
    def day(self) -> date:
        """In UTC."""
        return self.start.astimezone(UTC).date()

    def __repr__(self) -> str:
        return f"Slot({self.start.astimezone(UTC):%H:%M})"

    __str__ = __repr__

    def visible_at(self, now: datetime) -> datetime:
        """When the kitchen sees an order of this slot: 30 minutes before, or at its start if that is sooner."""
        early = self.start - timedelta(minutes=30)
        return early if early > now else self.start


class Order(_Checked):
    """What is inserted: the write-up's 25 columns. Money in whole roubles; the slot's columns are empty at first."""

    id: UUID
    display_id: Name
    customer_id: Count
    customer_first_name: Text = ""
    customer_last_name: Text = ""
    customer_phone: Text = ""
    delivery_address: Text = ""
    payment_method: Text = ""
    is_pickup: bool = False
    pickup_location_id: Text = ""
    call_before_minutes: Count = 0
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=MOST_ITEMS, strict=False)]
    is_set: bool = False
    set_name: Text = ""
    total_price: Positive
    discount_amount: Count = 0
    discount_percent: Annotated[int, Field(ge=0, lt=100)] = 0
    final_price: Positive
    notes: Text = ""
    status: Status = Status.PENDING
    created_at: AwareDatetime
    updated_at: AwareDatetime
    target_slot_id: str = ""
    target_slot_start_time: AwareDatetime | None = None
    visible_at: AwareDatetime | None = None

    @classmethod
    def of(cls, items: list[Item] | tuple[Item, ...], *, id: UUID, now: datetime, **fields: Any) -> Order:
        """A new order of these items; prices are added up. Raises InvalidOrder."""
        total = sum(item.total for item in items)
        off = fields.get("discount_amount", 0)
        if not isinstance(off, int):
            raise InvalidOrder("discount_amount", "is not a whole number of roubles")
        return cls.checked(
            id=id,
            display_id=f"{id.int % 10_000:04}",
            items=tuple(items),
            total_price=total,
            final_price=total - off,
            created_at=now,
            updated_at=now,
            **fields,
        )

    def placed(self, slot: Slot) -> Order:
        """The same order, in a slot."""
        return self.model_copy(
            update={
                "target_slot_id": slot.id,
                "target_slot_start_time": slot.start,
                "visible_at": slot.visible_at(self.created_at),
            }
        )

    def row(self) -> dict[str, Any]:
        """The 25 columns as parameters of a statement."""
        items = [item.model_dump(mode="json") for item in self.items]
        row = {name: getattr(self, name) for name in _COLUMNS}
        return {**row, "status": str(self.status), "items": Jsonb(items)}

    def as_json(self) -> Jsonb:
        """The whole order as one parameter of a statement."""
        return Jsonb(self.model_dump_json().encode(), dumps=bytes)

    @cached_property
    def digest(self) -> str:
        """Equal for two orders with the same content; times, status and slot are not part of it."""
        return hashlib.sha256(self.model_dump_json(exclude=_WHEN).encode()).hexdigest()[:32]


_COLUMNS = tuple(Order.model_fields)
_WHEN = {"created_at", "updated_at", "status", "target_slot_id", "target_slot_start_time", "visible_at"}


class Window(_Checked):
    """The slots that an order may be booked in, from `first` to `last`: those of `starts`, or one every `minutes`."""

    first: AwareDatetime
    last: AwareDatetime
    minutes: int = 15
    starts: tuple[AwareDatetime, ...] | None = None

    def slots(self) -> list[Slot]:
        """In order of their start."""
        return list(self.every)

    @cached_property
    def every(self) -> tuple[Slot, ...]:
        """The same, made once: a window is that of many orders."""
        if self.starts is not None:
            return tuple(Slot.at(start) for start in self.starts)
        count = (self.last - self.first) // timedelta(minutes=self.minutes) + 1
        return tuple(Slot.at(self.first + timedelta(minutes=self.minutes * i)) for i in range(count))

    @property
    def day(self) -> date:
        """In UTC; a window is of one day."""
        return self.first.astimezone(UTC).date()


LEAST_MINUTES = 8
"""What must be left of a slot for an order to be made in it."""


class Day(_Checked):
    """The slots of a day as they are in PostgreSQL: start and end of each, in order of their start."""

    day: date
    slots: tuple[tuple[AwareDatetime, AwareDatetime], ...]

    def window(self, now: datetime) -> Window:
        """From the first slot with at least 8 minutes left. Raises Closed."""
        least = now + timedelta(minutes=LEAST_MINUTES)
        starts = tuple(start for start, end in self.slots if end >= least)
        if not starts:
            last = (
                f"the last one starts at {self.slots[-1][0].astimezone(UTC):%H:%M} UTC" if self.slots else "it has none"
            )
            raise Closed(f"no slot is left on {self.day}: {last}")
        return _window(starts)


@lru_cache(maxsize=16)
def _window(starts: tuple[datetime, ...]) -> Window:
    # They are the day's, which were checked: to check 48 times for each order takes longer than to find a slot.
    return Window.model_construct(first=starts[0], last=starts[-1], starts=starts)


class Plan(_Checked):
    """Working hours (UTC), the length of slots, and how many roubles one takes; a row of slot_plans."""

    opens: time = time(10)
    closes: time = time(22)
    minutes: int = 15
    capacity: int = 100_000
    least_minutes: int = LEAST_MINUTES

    def window(self, now: datetime) -> Window:
        """From the first slot with at least 8 minutes left to the last one of the day. Raises Closed."""
        now = now.astimezone(UTC)
        opens = datetime.combine(now.date(), self.opens, UTC)
        last = datetime.combine(now.date(), self.closes, UTC) - timedelta(minutes=self.minutes)
        length = timedelta(minutes=self.minutes)
        first = max(opens, opens + (now - opens) // length * length)
        if first + length - now < timedelta(minutes=self.least_minutes):
            first += length
        if first > last:
            raise Closed(f"no slot is left on {now.date()}: the last one starts at {last:%H:%M} UTC")
        return Window(first=first, last=last, minutes=self.minutes)


@cache
def menu() -> dict[str, dict[str, Any]]:
    """data/menu.json by the pizzas' names."""
    return {one["pizza_name"]: one for one in json.loads(shipped("data", "menu.json").read_text(encoding="utf-8"))}


@cache
def customers() -> list[dict[str, Any]]:
    """data/customers.json: columns of an order, by customer."""
    return list(json.loads(shipped("data", "customers.json").read_text(encoding="utf-8")))
