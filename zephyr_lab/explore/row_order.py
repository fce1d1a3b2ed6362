"""Whether what a statement gives, or leaves, depends on the order in which the server comes upon rows.

That order is where rows lie, which depends on the order of writes that do not meet otherwise. Only what is known not to
depend on it is said not to. Results are compared as bags, so rows may come in any order; what is made of them may not.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from zephyr_lab.explore.schema import Schema

_ANY_ORDER = (
    exp.Select, exp.From, exp.Where, exp.Join, exp.Table, exp.TableAlias, exp.Column, exp.Identifier, exp.Literal,
    exp.Alias, exp.Star, exp.Paren, exp.Subquery, exp.Predicate, exp.Not, exp.Connector, exp.Null, exp.Boolean,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe, exp.Case, exp.If, exp.DataType,
    exp.DataTypeParam, exp.Interval, exp.Var, exp.Order, exp.Ordered, exp.Lock, exp.Group, exp.Having, exp.Filter,
    exp.Distinct, exp.SetOperation, exp.With, exp.CTE, exp.Parameter, exp.Placeholder, exp.Any, exp.All,
    exp.ByteString, exp.Insert, exp.Update, exp.Delete, exp.Values, exp.Tuple, exp.Schema, exp.Returning,
    exp.OnConflict,
)  # fmt: skip
_AGGREGATES = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.LogicalAnd, exp.LogicalOr)
_COMPARED = (
    exp.Column, exp.Identifier, exp.Literal, exp.Paren, exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Distinct, exp.Min,
    exp.Max,
)  # fmt: skip
_SUMMED = (*_COMPARED, exp.Case, exp.If, exp.Coalesce, exp.Binary, exp.Null, exp.Sum, exp.Avg)
_EXACT = frozenset({"integer", "numeric", "text", "exact"})
_NUMBERS = frozenset({"integer", "numeric", "unscaled"})


def depends_on_row_order(parsed: exp.Expression, tables: Iterable[str], schema: Schema) -> bool:
    """Of a parsed statement on these tables; functions are known to be harmless, and not to depend on it."""
    nodes = list(parsed.walk())
    if any(map(_takes_some, nodes)) or _takes_rows_elsewhere(parsed):
        return True
    tables = set(tables)
    kinds = _Kinds(parsed, {column: kind for column, kind in schema.columns.items() if column[0] in tables})
    if any(isinstance(one, exp.Group | exp.Distinct | exp.SetOperation) for one in nodes) and not kinds.all_exact():
        return True
    for one in nodes:
        if isinstance(one, exp.Sum | exp.Avg) and not (
            kinds.are(one, _NUMBERS) and all(isinstance(part, _SUMMED) for part in one.walk())
        ):
            return True
        if isinstance(one, exp.Min | exp.Max) and not (
            kinds.are(one, _EXACT) and all(isinstance(part, _COMPARED) for part in one.walk())
        ):
            return True
    # Of two things that can go wrong, on different rows, the first one is told.
    failing = {type(one) for one in nodes if isinstance(one, exp.Div | exp.Mod | exp.Cast) or _is_function(one)}
    return len(failing) > 1


def _takes_some(node: exp.Expression) -> bool:
    """Whether it takes some rows of several, or puts them in a row, or is not known not to."""
    if isinstance(node, exp.Distinct) and node.args.get("on"):
        return True
    if isinstance(node, exp.Array):
        return node.find(exp.Query) is not None
    return not (isinstance(node, (*_ANY_ORDER, *_AGGREGATES)) or (_is_function(node) or isinstance(node, exp.Cast)))


def _is_function(node: exp.Expression) -> bool:
    return isinstance(node, exp.Func) and not isinstance(
        node, exp.AggFunc | exp.Predicate | exp.Connector | exp.Cast | exp.Coalesce | exp.Case | exp.If
    )


def _takes_rows_elsewhere(parsed: exp.Expression) -> bool:
    """Whether rows of other tables are matched or inserted one after another."""
    if isinstance(parsed, exp.Insert):
        source = parsed.expression
        if isinstance(source, exp.Select):
            return any(isinstance(part, exp.From) for part in source.args.values())
        return source is not None and not isinstance(source, exp.Values)
    if isinstance(parsed, exp.Update):
        return any(isinstance(part, exp.From) for part in parsed.args.values())
    return isinstance(parsed, exp.Delete) and bool(parsed.args.get("using"))


class _Kinds:
    """Of which kinds the columns are that a statement names, as far as its names are those of its tables."""

    def __init__(self, parsed: exp.Expression, columns: dict[tuple[str, str], str]) -> None:
        self._columns = columns
        self._renamed = {one.alias.lower() for one in parsed.find_all(exp.Alias)}
        self._renamed |= {
            column.name.lower() for one in parsed.find_all(exp.TableAlias) for column in one.args.get("columns") or []
        }

    def all_exact(self) -> bool:
        return bool(self._columns) and all(kind in _EXACT for kind in self._columns.values())

    def are(self, expression: exp.Expression, kinds: frozenset[str]) -> bool:
        return all(self._is(column.name.lower(), kinds) for column in expression.find_all(exp.Column))

    def _is(self, name: str, kinds: frozenset[str]) -> bool:
        found = [kind for (_, column), kind in self._columns.items() if column.lower() == name]
        return bool(found) and name not in self._renamed and all(kind in kinds for kind in found)
