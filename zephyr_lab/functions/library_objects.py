"""Library objects, by columns, fields, or status and body; no library is imported: classes are recognised by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from zephyr_lab.functions.structure import Incomparable, Leaf, Parts, Told, article, not_run


class Reader(Protocol):
    """What reads their parts."""

    def read(self, value: Any) -> Told: ...

    def fields(self, kind: type, fields: Iterable[tuple[str, Any]]) -> Parts: ...

    def items(self, items: Iterable[tuple[Any, Any]]) -> Parts: ...


def mapped(reader: Reader, value: Any) -> Told:
    """An object mapped by SQLAlchemy: its loaded attributes; others would be fetched from the database."""
    state, kind = value._sa_instance_state, type(value)
    loaded = {name: one for name, one in value.__dict__.items() if name != "_sa_instance_state"}
    columns = [one.key for one in state.mapper.column_attrs]
    if missing := [name for name in columns if name not in loaded]:
        raise Incomparable(
            f"cannot compare {article(kind)}: {', '.join(missing)} of it not loaded, as after a commit: return "
            "plain data, refresh it, or make the session with expire_on_commit=False"
        )
    return reader.fields(kind, sorted(loaded.items()))


def _model(reader: Reader, value: Any) -> Told:
    """A Django model: columns, annotations and prefetched relations."""
    if missing := sorted(value.get_deferred_fields()):
        raise Incomparable(
            f"cannot compare {article(type(value))}: {', '.join(missing)} of it not loaded: return plain data"
        )
    return reader.fields(type(value), sorted((n, one) for n, one in vars(value).items() if n != "_state"))


def _query_set(reader: Reader, value: Any) -> Told:
    if value._result_cache is None:
        raise Incomparable(
            "cannot compare a QuerySet that has not been evaluated: return what it gives, as in list(...)"
        )
    return Parts("list", tuple(map(reader.read, value._result_cache)))


def _pydantic(reader: Reader, value: Any) -> Told:
    own = {**value.__dict__, **(value.__pydantic_extra__ or {}), **(value.__pydantic_private__ or {})}
    return reader.fields(type(value), own.items())


def _struct(reader: Reader, value: Any) -> Told:
    return reader.fields(type(value), ((name, getattr(value, name)) for name in value.__struct_fields__))


def _message(reader: Reader, value: Any) -> Told:
    """Of protocol buffers: the fields that are set."""

    def plain(one: Any) -> Any:
        if isinstance(one, str | bytes) or not hasattr(one, "__len__"):
            return one
        return dict(one.items()) if hasattr(one, "items") else list(one)

    return reader.fields(type(value), ((field.name, plain(one)) for field, one in value.ListFields()))


def _cursor(reader: Reader, value: Any) -> Told:
    """A result without rows; rows would have to be fetched."""
    if value.pgresult is None or value.description is not None:
        raise not_run(type(value))
    return reader.fields(type(value), (("rowcount", value.rowcount), ("statusmessage", value.statusmessage)))


def _row(reader: Reader, value: Any) -> Told:
    return reader.fields(type(value), zip(value._fields, tuple(value), strict=True))


def _range(reader: Reader, value: Any) -> Told:
    return reader.fields(type(value), (("lower", value._lower), ("upper", value._upper), ("bounds", value._bounds)))


def _response(reader: Reader, value: Any) -> Told:
    kind = type(value)
    status = next(getattr(value, n) for n in ("status_code", "status") if hasattr(value, n))
    try:
        body = next(getattr(value, n) for n in ("content", "body", "data") if hasattr(value, n))
    except Exception as error:  # sentinel of a body that has not been read
        body = error
    if not isinstance(body, bytes | str):
        raise Incomparable(
            f"cannot compare {article(kind)} whose body has not been read: read it, or return its status and text"
        )
    return reader.fields(kind, (("status", status), ("body", body)))


def _array(reader: Reader, value: Any) -> Told:
    return Parts(str(value.dtype), (reader.read(value.shape), reader.read(value.tolist())))


def _frame(reader: Reader, value: Any) -> Told:
    series = [value.iloc[:, place] for place in range(value.shape[1])]
    columns = [(name, str(one.dtype), one.tolist()) for name, one in zip(value.columns, series, strict=True)]
    return reader.fields(type(value), (("columns", columns), ("index", value.index)))


def _series(reader: Reader, value: Any) -> Told:
    fields = (("name", value.name), ("index", value.index), ("dtype", str(value.dtype)), ("values", value.tolist()))
    return reader.fields(type(value), fields)


def _index(reader: Reader, value: Any) -> Told:
    return reader.fields(type(value), (("names", list(value.names)), ("values", value.tolist())))


def _categories(reader: Reader, value: Any) -> Told:
    return reader.read(value.tolist())


def _timestamp(reader: Reader, value: Any) -> Told:
    return Leaf("Timestamp", (value.value, str(value.tz)), repr(value))


def _missing(reader: Reader, value: Any) -> Told:
    return Leaf("constant", repr(value), repr(value))


def _scalar(reader: Reader, value: Any) -> Told:
    plain = value.item()
    return Leaf(str(value.dtype), value, repr(value)) if type(plain) is type(value) else reader.read(plain)


def _without_attributes(reader: Reader, value: Any) -> Told:
    return reader.items(value.items()) if isinstance(value, Mapping) else Parts("list", tuple(map(reader.read, value)))


def _json(reader: Reader, value: Any) -> Told:
    return reader.read(value.obj)


# By a class's package and name: modules move within a package.
KNOWN: dict[str, Callable[[Reader, Any], Told]] = {
    "django.Model": _model,
    "django.QuerySet": _query_set,
    "pydantic.BaseModel": _pydantic,
    "msgspec.Struct": _struct,
    "google.Message": _message,
    "sqlalchemy.Row": _row,
    "sqlalchemy.RowMapping": _without_attributes,
    "rest_framework.ReturnDict": _without_attributes,
    "rest_framework.ReturnList": _without_attributes,
    "psycopg.BaseCursor": _cursor,
    "psycopg.Range": _range,
    "psycopg._JsonWrapper": _json,
    "django.HttpResponse": _response,
    "httpx.Response": _response,
    "requests.Response": _response,
    "starlette.Response": _response,
    "werkzeug.Response": _response,
    "numpy.ndarray": _array,
    "numpy.datetime64": _missing,
    "numpy.timedelta64": _missing,
    "numpy.generic": _scalar,
    "pandas.DataFrame": _frame,
    "pandas.Series": _series,
    "pandas.Index": _index,
    "pandas.ExtensionArray": _categories,
    "pandas.Timestamp": _timestamp,
    "pandas.NaTType": _missing,
    "pandas.NAType": _missing,
}
