"""What a function returned or raised, as a value that can be compared: by its structure, never by its repr.

Plain data is compared as Python's `==` does (sets and dicts whatever their order, NaN equal to itself), objects of
known kinds by their fields, columns, or status and body. Nothing lazy is evaluated, and no library is imported:
classes are recognised by name. Unknown kinds are refused, with the remedy.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import inspect
import ipaddress
import math
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from zephyr_lab.functions.library_objects import KNOWN, mapped
from zephyr_lab.functions.structure import Incomparable, Leaf, Parts, Told, article, not_run

Compare = Mapping[type, Callable[[Any], Any]]  # a class to a function that turns its objects into plain data


_NUMBERS = (int, float, complex, decimal.Decimal, fractions.Fraction)
_WITHOUT_PARTS = (
    str, datetime.date, datetime.time, datetime.timedelta, datetime.timezone, uuid.UUID, pathlib.PurePath,
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network,
    ipaddress.IPv4Interface, ipaddress.IPv6Interface, zoneinfo.ZoneInfo, re.Pattern, range,
)  # fmt: skip
_SEQUENCES: tuple[type[Any], ...] = (list, collections.deque, array.array, type({}.values()))
_SETS: tuple[type[Any], ...] = (set, frozenset, type({}.keys()), type({}.items()))
_MAPPINGS = (dict, types.MappingProxyType, collections.ChainMap)
_WRAPPED = (collections.UserDict, collections.UserList, collections.UserString)
_LAZY = frozenset({
    "django.RawQuerySet", "sqlalchemy.Query", "sqlalchemy.AsyncResult", "_asyncio.Future", "concurrent.Future",
})  # fmt: skip
_DRIVERS = ("psycopg", "psycopg_pool")
_CLIENTS = (*_DRIVERS, "redis", "valkey")  # their errors have attributes of the connection and of statistics


def told(value: Any, compare: Compare | None = None) -> Told:
    """What was returned, or an exception that was raised. Raises Incomparable."""
    return _Reader(compare or {}).read(value)


class _Reader:
    def __init__(self, compare: Compare) -> None:
        self._compare = compare
        self._within: list[Any] = []

    def read(self, value: Any) -> Told:
        if any(value is one for one in self._within):
            depth = next(i for i, one in enumerate(reversed(self._within)) if one is value)
            return Leaf("itself", depth, "...")
        self._within.append(value)
        try:
            return self._read(value)
        finally:
            self._within.pop()

    def _read(self, value: Any) -> Told:
        kind = type(value)
        for one in kind.__mro__:
            if one in self._compare:
                return Parts(one.__name__, (self._as_said(self._compare[one], one, value),))
        if value is None or value is Ellipsis or value is NotImplemented:
            return Leaf("constant", repr(value), repr(value))
        if isinstance(value, enum.Enum):
            return Leaf(_name(kind), value.name or self.read(value.value), repr(value))
        if isinstance(value, BaseException):
            return self._error(value)
        if "_sa_instance_state" in getattr(value, "__dict__", ()):
            return mapped(self, value)
        # A class that protocol buffers have made of a description is in no module.
        names = [f"{(one.__module__ or '').partition('.')[0]}.{one.__name__}" for one in kind.__mro__]
        for name in names:
            if name in KNOWN:
                return KNOWN[name](self, value)
        if (
            inspect.isawaitable(value)
            or inspect.isgenerator(value)
            or inspect.isasyncgen(value)
            or isinstance(value, Iterator)
            or not _LAZY.isdisjoint(names)
        ):
            raise not_run(kind)
        if isinstance(value, type):
            if not _is_importable(value):
                raise Incomparable(
                    f"cannot compare the class {value.__name__}, which is defined while functions run, and cannot "
                    "be found by its name: return plain data"
                )
            return Leaf("class", _name(value), repr(value))
        return self._plain(value)

    def _plain(self, value: Any) -> Told:
        """Python's own types, and classes that declare their fields."""
        kind = type(value)
        of_attrs = getattr(kind, "__attrs_attrs__", None)
        fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else of_attrs
        plain = self._built_in(value)
        if fields is not None:
            own = {one.name: getattr(value, one.name) for one in fields if hasattr(value, one.name)}
            found = self.fields(kind, {**own, **_attributes(value)}.items())
            return found if plain is None else Parts(kind.__name__, (plain, *found.parts))
        if plain is not None:
            return self._with_attributes(value, plain)
        if isinstance(value, types.SimpleNamespace):
            return self.fields(kind, sorted(vars(value).items()))
        if isinstance(value, slice):
            return Parts("slice", tuple(map(self.read, (value.start, value.stop, value.step))))
        raise Incomparable(f"cannot compare {article(kind)}: return plain data{_how(value)}")

    def _built_in(self, value: Any) -> Told | None:
        """A built-in value, whatever methods a derived class overrides; None for other objects."""
        kind = type(value)
        if isinstance(value, _NUMBERS):
            return _number(_plain_number(value))
        if isinstance(value, bytes | bytearray | memoryview):
            plain = bytes(memoryview(value))
            return Leaf("bytes", plain, repr(plain))
        if isinstance(value, _WITHOUT_PARTS):
            return _leaf(value)
        if isinstance(value, tuple):
            items = tuple.__iter__(value)
            if names := getattr(kind, "_fields", None):
                return self.fields(kind, zip(names, items, strict=True))
            return Parts("tuple", tuple(map(self.read, items)))
        if isinstance(value, _WRAPPED):
            return self.read(value.data)
        if isinstance(value, _SEQUENCES):
            base = next(one for one in _SEQUENCES if isinstance(value, one))
            return Parts(base.__name__, tuple(map(self.read, base.__iter__(value))))
        if isinstance(value, _SETS):
            base = next(one for one in _SETS if isinstance(value, one))
            return Parts("set", frozenset(map(self.read, base.__iter__(value))))
        if isinstance(value, collections.OrderedDict):  # its `==` depends on the order
            return Parts("OrderedDict", self._pairs(collections.OrderedDict.items(value)))
        if isinstance(value, dict):
            return self.items(dict.items(value))
        return self.items(value.items()) if isinstance(value, _MAPPINGS) else None

    def _as_said(self, how: Callable[[Any], Any], kind: type, value: Any) -> Told:
        try:
            plain = how(value)
        except Exception as error:
            raise Incomparable(
                f"cannot compare {article(kind)}: what compare= has for it raised {type(error).__name__}: {error}"
            ) from error
        if plain == {} and how is vars and _is_of_python(type(value)):
            raise Incomparable(f"cannot compare {article(kind)}: vars() shows nothing of it; return plain data")
        return self.read(plain)

    def _pairs(self, items: Iterable[tuple[Any, Any]]) -> tuple[Parts, ...]:
        return tuple(Parts("item", (self.read(key), self.read(one))) for key, one in items)

    def items(self, items: Iterable[tuple[Any, Any]]) -> Parts:
        pairs = self._pairs(items)
        return Parts("dict", frozenset(pairs), pairs)

    def fields(self, kind: type, fields: Iterable[tuple[str, Any]]) -> Parts:
        return Parts(
            kind.__name__, tuple(Parts("field", (Leaf("name", name, name), self.read(one))) for name, one in fields)
        )

    def _with_attributes(self, value: Any, plain: Told) -> Told:
        """A class derived from plain data may have attributes, too."""
        attributes = _attributes(value)
        if isinstance(value, _WRAPPED):
            del attributes["data"]
        return (
            Parts(type(value).__name__, (plain, *self.fields(type(value), attributes.items()).parts))
            if attributes
            else plain
        )

    def _error(self, error: BaseException) -> Told:
        kind = type(error)
        if kind.__module__.partition(".")[0] in _DRIVERS and is_from_server(error):
            state = _sqlstate(error)
            if message := raised_in(error):
                return Parts(kind.__name__, (Leaf("name", state, state), self.read(message)))
            # The server's messages contain process and transaction numbers.
            constraint = getattr(getattr(error, "diag", None), "constraint_name", None) or ""
            return Leaf(_name(kind), (state, constraint), f"{kind.__name__}({f'{state} {constraint}'.strip()!r})")
        parts: list[Told] = []
        from_driver = getattr(error, "orig", None) or error.__cause__
        if isinstance(from_driver, BaseException) and _sqlstate(from_driver) and _is_wrapper(kind):
            return Parts(kind.__name__, (self.read(from_driver),))  # its arguments are the driver's message
        attempt = getattr(error, "last_attempt", None)  # tenacity.RetryError
        if attempt is not None and callable(getattr(attempt, "exception", None)):
            return Parts(kind.__name__, (self.read(attempt.exception()),))
        if kind.__module__.partition(".")[0] == "grpc" and callable(getattr(error, "code", None)):
            return Parts("RpcError", (_status(error), self.read(error.details())))  # type: ignore[attr-defined]
        errors = getattr(error, "errors", None)
        if kind.__name__ == "ValidationError" and callable(errors):  # pydantic
            return Parts(kind.__name__, (self.read(errors(include_url=False)),))
        if isinstance(error, BaseExceptionGroup):
            parts = [self.read(error.message), *map(self.read, error.exceptions)]
        else:
            parts = [self.read(one) for one in error.args]
        if kind.__module__.partition(".")[0] not in _CLIENTS:
            parts += self.fields(kind, sorted(_attributes(error).items())).parts
        if error.__cause__ is not None:
            parts.append(Parts("field", (Leaf("name", "cause", "cause"), self.read(error.__cause__))))
        elif error.__context__ is not None and not error.__suppress_context__:
            parts.append(Parts("field", (Leaf("name", "context", "context"), self.read(error.__context__))))
        return Parts(kind.__name__, tuple(parts))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _status(error: Any) -> Leaf:
    """The code of an error of gRPC's."""
    name = error.code().name
    return Leaf("name", name, name)


def is_from_server(error: BaseException) -> bool:
    """Whether it comes from a server, and is not an error of a driver's class raised by Python code."""
    return bool(_sqlstate(error)) and getattr(error, "pgresult", None) is not None


def raised_in(error: BaseException) -> str:
    """The message of RAISE in a server-side function."""
    return str(error.diag.message_primary or "") if _sqlstate(error).startswith("P0") else ""  # type: ignore[attr-defined]


def _is_importable(kind: type) -> bool:
    """Whether it can be found by its name."""
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


def _is_of_python(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in sys.stdlib_module_names


def _how(value: Any) -> str:
    """How to make it comparable: `vars` does not show the state of closures, modules and their like."""
    kind = type(value)
    if _is_of_python(kind):
        return ""
    return f", or say how: compare={{{kind.__name__}: {'vars' if hasattr(value, '__dict__') else 'a function'}}}"


def _sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def _is_wrapper(kind: type) -> bool:
    """Whether it is a library's wrapper of a driver's error, with the driver's message."""
    return kind.__module__.startswith(("django.db", "sqlalchemy."))


def _plain_number(value: Any) -> Any:
    """The plain number, of a class that may define its own equality."""
    if isinstance(value, int):
        return value if isinstance(value, bool) else int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, complex):
        return complex.__add__(value, 0)
    if isinstance(value, decimal.Decimal):
        return decimal.Decimal(value)
    return fractions.Fraction(value._numerator, value._denominator)


def _number(value: Any) -> Leaf:
    """All numbers are compared with one another, as `==` does; NaN equals itself, of whatever kind."""
    if isinstance(value, complex) and (math.isnan(value.real) or math.isnan(value.imag)):
        return Leaf("complex", repr(value), repr(value))
    nan = value.is_nan() if isinstance(value, decimal.Decimal) else isinstance(value, float) and math.isnan(value)
    return Leaf("number", "nan" if nan else value, repr(value))


def _leaf(value: Any) -> Leaf:
    equals = next(one for one in type(value).__mro__ if "__eq__" in vars(one))
    if not (isinstance(value, str) or _is_of_python(equals)):
        raise Incomparable(f"cannot compare {article(type(value))}, which has its own ==: return plain data")
    if isinstance(value, datetime.datetime | datetime.time):
        # `==` does not distinguish equal times of two zones.
        return Leaf("time", value, repr(value))
    if isinstance(value, str):
        value = str.__str__(value)
    kind = next(_name(one) for one in _WITHOUT_PARTS if isinstance(value, one))
    return Leaf(kind, value, repr(value))


def _attributes(value: Any) -> dict[str, Any]:
    """What is in its `__dict__` and its slots."""
    found = {name: one for name, one in getattr(value, "__dict__", {}).items() if not name.startswith("_sa_")}
    for kind in (one for one in type(value).__mro__ if one.__module__ not in sys.stdlib_module_names):
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and name[-2:] != "__" else name
            if name not in ("__dict__", "__weakref__") and hasattr(value, mangled):
                found.setdefault(name, getattr(value, mangled))
    return found
