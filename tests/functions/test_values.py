"""What functions return and raise: equal where `==` or the fields say so, told apart otherwise, or refused."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import re
import subprocess
import sys
import types
import uuid
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import httpx
import numpy
import pandas
import pydantic
import pytest
import sqlalchemy
from google.protobuf import struct_pb2
from sqlalchemy import orm

from zephyr_lab.functions.structure import Incomparable
from zephyr_lab.functions.values import told
from zephyr_lab.orders.grpc.messages import PizzaOrderRequest

NAN = float("nan")


@dataclasses.dataclass
class Hidden:
    n: int = dataclasses.field(repr=False, compare=False)


class Pair(NamedTuple):
    a: int
    b: int


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Model(pydantic.BaseModel):
    n: int


class Base(orm.DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "t"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    n: orm.Mapped[int]


class Plain:
    def __init__(self, n: int) -> None:
        self.n = n

    def __repr__(self) -> str:
        return "Plain()"


class Slotted:
    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        self.n = n


class Liar(str):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class LyingNumber(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class WithMore(Pair):
    pass


class MoreOfAList(collections.UserList[int]):
    pass


@dataclasses.dataclass
class FieldAndItems(list[int]):
    n: int


def with_more(made: Any, n: int) -> Any:
    made.n = n
    return made


def filled(made: Any, n: int) -> Any:
    made.append(n)
    return made


class Keyword(Exception):
    def __init__(self, *, n: int) -> None:
        self.n = n


class Status(grpc.RpcError):
    __module__ = "grpc._channel"  # as that of what a channel raises

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code, self.details, self.channel = lambda: code, lambda: details, object()


class Money(int):
    currency: str


def money(n: int, currency: str) -> Money:
    made = Money(n)
    made.currency = currency
    return made


def caused(n: int) -> Exception:
    error = ValueError("no")
    error.__cause__ = KeyError(n)
    return error


def in_the_course_of(n: int) -> Exception:
    error = ValueError("no")
    error.__context__ = KeyError(n)
    return error


def noted(n: int) -> Exception:
    error = ValueError("no")
    error.add_note(str(n))
    return error


# Each gives equal values for equal n, and others for others; their reprs are alike, or hide what differs.
MADE: dict[str, Callable[[int], Any]] = {
    "a number": lambda n: n, "a float, far behind the point": lambda n: 1 + n * 1e-15,
    "Decimal": lambda n: decimal.Decimal(n) / 8, "a text with an address": lambda n: f"slot at 0x{n}",
    "bytes": lambda n: bytes([n, 200 + n]), "memoryview": lambda n: memoryview(bytes([n])),
    "a list": lambda n: [n, [n]], "a tuple": lambda n: (n,), "a set": lambda n: {n, 5}, "a dict": lambda n: {"n": n},
    "a long list": lambda n: [0] * 2000 + [n], "deque": lambda n: collections.deque([n]),
    "array": lambda n: array.array("i", [n]), "UserDict": lambda n: collections.UserDict(n=n),
    "a dataclass that hides it": Hidden, "a named tuple": lambda n: Pair(n, 0), "an enum": lambda n: list(Colour)[n],
    "a namespace": lambda n: types.SimpleNamespace(n=n), "pydantic": lambda n: Model(n=n),
    "SQLAlchemy's": lambda n: Row(id=1, n=n), "a time": lambda n: datetime.datetime(2026, 1, 1, microsecond=n),
    "a UUID": lambda n: uuid.UUID(int=n), "a range": range, "a slice": lambda n: slice(n),
    "a response": lambda n: httpx.Response(200, json={"n": n}), "its status": lambda n: httpx.Response(200 + n),
    "numpy": lambda n: numpy.array([0] * 2000 + [n]), "a scalar of numpy's": numpy.int64,
    "a frame": lambda n: pandas.DataFrame({"a": [0] * 50 + [n] + [0] * 51}),
    "the index of a frame": lambda n: pandas.DataFrame({"a": [1]}, index=[n]),
    "a series": lambda n: pandas.Series([n * 1e-9]), "Timestamp": lambda n: pandas.Timestamp(n),
    "an error": ValueError, "an error with keywords": lambda n: Keyword(n=n), "its cause": caused, "its notes": noted,
    "a group": lambda n: ExceptionGroup("several", [ValueError(n)]), "a derived number": lambda n: money(1, str(n)),
    "a pattern": lambda n: re.compile(str(n)), "a class": lambda n: (int, str)[n],
    "a text that says it is equal": lambda n: Liar(n), "a number that says so": LyingNumber,
    "a named tuple with more": lambda n: with_more(WithMore(1, 2), n),
    "UserList with more": lambda n: with_more(MoreOfAList([1]), n),
    "fields beside items": FieldAndItems, "items beside fields": lambda n: filled(FieldAndItems(1), n),
    "the order of OrderedDict": lambda n: collections.OrderedDict([("a", 1), ("b", 2)][:: 1 if n else -1]),
    "its context": in_the_course_of, "keys": lambda n: {n: 1}.keys(), "values": lambda n: {1: n}.values(),
    "items": lambda n: {1: [n]}.items(), "a message": lambda n: PizzaOrderRequest(customer_id=n),
    "what a message repeats": lambda n: PizzaOrderRequest(extras=["a", str(n)]),
    "a map of messages": lambda n: struct_pb2.Struct(fields={"a": struct_pb2.Value(number_value=n)}),
    "a status of gRPC's": lambda n: Status(list(grpc.StatusCode)[n], "late"),
    "its details": lambda n: Status(grpc.StatusCode.ABORTED, str(n)),
}  # fmt: skip


@pytest.mark.parametrize("kind", MADE)
def test_what_differs_is_told_apart_and_what_is_equal_is_not(kind: str) -> None:
    """Also inside of something else, and as a key of what counts them."""
    make = MADE[kind]
    one, same, other = (told({"in": [make(n)]}) for n in (1, 1, 0))
    assert one == same != other
    assert len({one, same, other}) == 2
    assert str(one) == str(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({1, 8}, {8, 1}), ({0, 8}, {8, 0}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (NAN, float("nan")),
        (decimal.Decimal("1.50"), decimal.Decimal("1.5")), (1, 1.0), (numpy.array([NAN]), numpy.array([NAN])),
        (frozenset({1}), {1}), (pandas.NaT, pandas.NaT), (bytearray(b"a"), b"a"), (decimal.Decimal("nan"), NAN),
    ],
)  # fmt: skip
def test_what_is_equal_by_value_is_equal(one: Any, other: Any) -> None:
    """Whatever the order of insertion, and whatever stands for a missing number."""
    assert told(one) == told(other)
    assert hash(told(one)) == hash(told(other))


LAZY = {
    "a generator": lambda: (n for n in [1]),
    "map": lambda: map(str, [1]),
    "zip": lambda: zip([1], strict=True),
    "an iterator": lambda: iter([1]),
}
UNKNOWN = {
    "an object": lambda: Plain(1),
    "one with slots": lambda: Slotted(1),
    "what is in a list": lambda: [Plain(1)],
    "an argument of an error": lambda: ValueError(Plain(1)),
}


WITHOUT_VARS = {
    "a closure": lambda: lambda: 1,
    "partial": lambda: functools.partial(int, 1),
    "a module": lambda: re,
    "a weak reference": lambda: weakref.ref(Plain),
    "a class made meanwhile": lambda: type("T", (), {"n": 1}),
    "one with an == of its own": lambda: type("T", (datetime.date,), {"__eq__": lambda *_: True})(2026, 1, 1),
}


@pytest.mark.parametrize("kind", WITHOUT_VARS)
def test_who_keeps_it_where_vars_does_not_look_is_not_told_to(kind: str) -> None:
    """`vars` of a closure is empty, whatever it holds; and it is not taken for an answer."""
    made = WITHOUT_VARS[kind]()  # type: ignore[no-untyped-call]
    with pytest.raises(Incomparable, match=r"return plain data$"):
        told(made)
    if kind in ("a closure", "partial"):
        with pytest.raises(Incomparable, match=r"return plain data$"):
            told(made, {type(made): vars})


@pytest.mark.parametrize("kind", [*LAZY, *UNKNOWN])
def test_what_cannot_be_compared_is_refused_with_a_remedy(kind: str) -> None:
    """Never by its repr; and nothing is run that has not been."""
    make = {**LAZY, **UNKNOWN}[kind]
    with pytest.raises(Incomparable, match=r"as in list\(" if kind in LAZY else "return plain data, or say how: comp"):
        told(make())  # type: ignore[no-untyped-call]


def test_what_is_not_loaded_is_not_asked_for() -> None:
    """An object that a commit has expired, and a response that has not been read."""
    engine = sqlalchemy.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        row = Row(id=1, n=1)
        session.add(row)
        session.commit()
        with pytest.raises(Incomparable, match=r"cannot compare a Row: id, n of it not loaded.*expire_on_commit=False"):
            told(row)
        session.refresh(row)
        assert str(told(row)) == "Row(id=1, n=1)"
    with pytest.raises(Incomparable, match="a Response whose body has not been read"):
        told(httpx.Response(200, stream=httpx.ByteStream(b"a")))


def test_how_to_compare_may_be_said() -> None:
    """For a class and what derives from it; what fails there names itself."""
    assert told(Plain(1), {Plain: vars}) == told(Plain(1), {Plain: vars}) != told(Plain(2), {Plain: vars})
    assert told(Keyword(n=1), {Exception: lambda error: error.n}) == told(Keyword(n=1), {Exception: lambda one: one.n})
    with pytest.raises(Incomparable, match="what compare= has for it raised AttributeError"):
        told(Slotted(1), {Slotted: lambda one: one.m})


def test_what_contains_itself_comes_to_an_end() -> None:
    """A list in itself."""
    one: list[Any] = [1]
    one.append(one)
    assert str(told(one)) == "[1, ...]"


def test_a_drivers_words_are_left_out() -> None:
    """They have process and transaction numbers in them; its SQLSTATE and constraint say what happened."""
    psycopg = pytest.importorskip("psycopg")
    said = psycopg.pq.PGconn.connect_start(b"").make_empty_result(psycopg.pq.ExecStatus.FATAL_ERROR)
    one, other = (psycopg.errors.DeadlockDetected(f"Process {n} waits for ShareLock", info=said) for n in (1, 2))
    assert told(one) == told(other)
    wrapped = [sqlalchemy.exc.OperationalError("select 1", {}, error) for error in (one, other)]
    assert told(wrapped[0]) == told(wrapped[1])
    assert told(one) != told(psycopg.errors.UniqueViolation("no", info=said))


def test_an_error_of_a_drivers_class_that_python_has_made_counts_with_its_words() -> None:
    """Nobody but the function has written them."""
    psycopg = pytest.importorskip("psycopg")
    one, same, other = (psycopg.errors.UniqueViolation(f"{n} is taken") for n in (1, 1, 2))
    assert told(one) == told(same) != told(other)


DJANGO = """
import django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[], DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from django.db import connection, models
from django.http import HttpResponse, StreamingHttpResponse
from zephyr_lab.functions.structure import Incomparable
from zephyr_lab.functions.values import told
from zephyr_lab.orders.grpc.messages import PizzaOrderRequest
class A(models.Model):
    n = models.IntegerField()
    class Meta:
        app_label = "a"
with connection.schema_editor() as editor:
    editor.create_model(A)
A.objects.create(n=1)
evaluated = A.objects.all()
len(evaluated)
for one in (
    A.objects.get(), evaluated, A.objects.annotate(m=models.F("n") + 1).get(), HttpResponse("x", status=201),
    A.objects.all(), A.objects.only("id").get(), StreamingHttpResponse(iter(["x"])),
):
    try:
        print(told(one))
    except Incomparable as error:
        print("refused:", error)
"""


def test_djangos_objects_are_compared_by_their_columns() -> None:
    """By what is loaded; nothing is asked of the database."""
    pytest.importorskip("django")
    done = subprocess.run([sys.executable, "-c", DJANGO], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "A(id=1, n=1)",
        "[A(id=1, n=1)]",
        "A(id=1, m=2, n=1)",
        "HttpResponse(status=201, body=b'x')",
        "refused: cannot compare a QuerySet that has not been evaluated: return what it gives, as in list(...)",
        "refused: cannot compare an A: n of it not loaded: return plain data",
        "refused: cannot compare a StreamingHttpResponse: return plain data, or say how: "
        "compare={StreamingHttpResponse: vars}",
    ]
