"""Whether a statement's result or effect depends on the order in which the server visits rows.

That is their physical order, which depends on the order of otherwise independent writes. Only what is known to be
insensitive to it counts as such. Results are compared as bags, so rows may come in any order; values computed from
several rows may not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp
from sqlglot.expressions import Expr

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
_SUMMED = (
    *_COMPARED, exp.Div, exp.Mod, exp.Case, exp.If, exp.Coalesce, exp.Null, exp.Sum, exp.Avg, exp.EQ, exp.NEQ, exp.GT,
    exp.GTE, exp.LT, exp.LTE, exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between,
)  # fmt: skip
# Their equal results have equal text, if those of the columns do.
_ALIKE = (
    exp.Column, exp.Identifier, exp.Literal, exp.Paren, exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Alias, exp.Null,
    exp.Boolean, exp.Count, exp.Star, exp.Min, exp.Max,
)  # fmt: skip
_EXACT = frozenset({"integer", "numeric", "text", "exact"})
_OF_ONE_SCALE = frozenset({"integer", "text", "exact"})
_NUMBERS = frozenset({"integer", "numeric", "unscaled"})
# Numeric arithmetic.
_ARITHMETIC = (
    exp.Column, exp.Identifier, exp.Literal, exp.Paren, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Null,
    exp.Coalesce, exp.Star, *_AGGREGATES,
)  # fmt: skip
_NEVER_FAIL = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.In, exp.Between,
    exp.Exists, exp.Any, exp.All, exp.Upper, exp.Lower, exp.Length, exp.Greatest, exp.Least, exp.Nullif, exp.Concat,
    exp.ConcatWs,
)  # fmt: skip
# Parents in which a query in parentheses is no single value.
_NO_VALUE = (
    exp.From, exp.Join, exp.Lateral, exp.SetOperation, exp.Any, exp.All, exp.In, exp.Exists, exp.CTE, exp.Insert,
    exp.Subquery,
)  # fmt: skip
_INTEGERS = (exp.DataType.Type.SMALLINT, exp.DataType.Type.INT, exp.DataType.Type.BIGINT)
_NO_ERROR: frozenset[str] = frozenset()
_OVERFLOW, _BY_ZERO = frozenset({"22003"}), frozenset({"22012"})
_ANY_ERROR = frozenset({"?", "??"})


def depends_on_row_order(parsed: Expr, tables: Iterable[str], schema: Schema) -> bool:
    """For a parsed statement on these tables; its functions are known to be harmless, and insensitive to row order."""
    nodes = list(parsed.walk())
    if any(map(_takes_some, nodes)) or _takes_rows_elsewhere(parsed):
        return True
    tables = set(tables)
    kinds = _Kinds(parsed, {column: kind for column, kind in schema.columns.items() if column[0] in tables})
    if not all(kinds.are_alike(one) for one in nodes):
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
    return _tells_the_first_error(nodes, kinds)


def _tells_the_first_error(nodes: list[Expr], kinds: _Kinds) -> bool:
    """Whether it depends on row order which of several rows' errors is raised, or if any is."""
    told: set[str] = set()
    for one in nodes:
        errors = kinds.errors(one)
        select = _of_rows(one) if errors else None
        if select is None:
            continue
        # A function in FROM that takes nothing from rows is called once.
        is_read = isinstance(one.parent, exp.Table) and one.find(exp.Column, exp.Select) is None
        told |= {one.sql("postgres")} if is_read else errors
        if _may_stop(select) and not is_read:
            return True
    return len(told) > 1


def _of_rows(node: Expr) -> exp.Select | None:
    """The query on whose rows an expression is evaluated; None if it is evaluated once, or on values."""
    select = node.find_ancestor(exp.Select)
    while select is not None and not select.args.get("group"):
        # An expression of an aggregate over all rows is evaluated once.
        made = any(one.find_ancestor(exp.Select) is select for one in node.find_all(exp.AggFunc))
        if not made and any(isinstance(part, exp.From) for part in select.args.values()):
            break
        node, select = select, select.find_ancestor(exp.Select)
    return select


def _may_stop(select: exp.Select) -> bool:
    """Whether a query may stop before its last row: as a part of another, by a join, by an index's end."""
    return (
        not isinstance(select.parent, exp.Insert | None)
        or bool(select.args.get("joins") or select.args.get("laterals"))
        or select.find(exp.Exists, exp.Any, exp.All, exp.Min, exp.Max) is not None
        or any(one.args.get("query") for one in select.find_all(exp.In))
    )


def _takes_some(node: Expr) -> bool:
    """Whether it selects some of several rows, or orders them, or is not known not to."""
    if isinstance(node, exp.Distinct) and node.args.get("on"):
        return True
    if isinstance(node, exp.Array):
        return node.find(exp.Query) is not None
    return not (isinstance(node, (*_ANY_ORDER, *_AGGREGATES)) or (_is_function(node) or isinstance(node, exp.Cast)))


def _is_function(node: Expr) -> bool:
    return isinstance(node, exp.Func) and not isinstance(
        node, exp.AggFunc | exp.Predicate | exp.Connector | exp.Cast | exp.Coalesce | exp.Case | exp.If
    )


def _takes_rows_elsewhere(parsed: Expr) -> bool:
    """Whether rows of other tables are matched or inserted one after another."""
    if isinstance(parsed, exp.Insert):
        source = parsed.expression
        if isinstance(source, exp.Select):
            return any(isinstance(part, exp.From) for part in source.args.values())
        return source is not None and not isinstance(source, exp.Values)
    if isinstance(parsed, exp.Update):
        return any(isinstance(part, exp.From) for part in parsed.args.values())
    return isinstance(parsed, exp.Delete) and bool(parsed.args.get("using"))


def _makes_columns(parsed: Expr) -> bool:
    """Whether a column may have the name of another: one without an alias is named after its parts."""
    if any(one.side == "FULL" for one in parsed.find_all(exp.Join)):
        return True
    read = [one for one in parsed.find_all(exp.CTE, exp.Subquery) if isinstance(one, exp.CTE) or _is_read(one)]
    return any(
        not isinstance(part, exp.Column | exp.Star | exp.Alias)
        for one in read
        for select in one.find_all(exp.Select)
        for part in select.expressions
    )


def _is_read(subquery: Expr) -> bool:
    return isinstance(subquery.parent, exp.From | exp.Join | exp.Lateral)


def _is_a_value(subquery: exp.Subquery) -> bool:
    """Whether it is a scalar subquery whose query is not known to give at most one row."""
    query, parent = subquery.this, subquery.parent
    if parent is None or isinstance(parent, _NO_VALUE):
        return False
    made = query.expressions if isinstance(query, exp.Select) and not query.args.get("group") else []
    return not any(one.find_ancestor(exp.Select) is query for part in made for one in part.find_all(exp.AggFunc))


def _behind(part: Expr, select: exp.Select) -> Expr:
    """The expression that a position in GROUP BY refers to."""
    if isinstance(part, exp.Literal) and not part.is_string and part.this.isdecimal():
        place = int(part.this) - 1
        return select.expressions[place] if place < len(select.expressions) else part
    return part


class _Kinds:
    """The kinds of the columns that a statement names, if they are columns of its tables."""

    def __init__(self, parsed: Expr, columns: dict[tuple[str, str], str]) -> None:
        self._columns = {} if _makes_columns(parsed) else columns
        self._renamed = {one.alias.lower() for one in parsed.find_all(exp.Alias)}
        self._renamed |= {
            column.name.lower() for one in parsed.find_all(exp.TableAlias) for column in one.args.get("columns") or []
        }

    def are_alike(self, node: Expr) -> bool:
        """Whether values that a node merges as equal have equal text."""
        if isinstance(node, exp.SetOperation):
            selects = list(node.find_all(exp.Select))
            if isinstance(node, exp.Union) and not node.args.get("distinct"):
                return True
            # A literal, or a column of another scale, gives a column without a fixed scale.
            return all(self._alike(part, _OF_ONE_SCALE) for one in selects for part in one.expressions)
        if isinstance(node, exp.Group):
            select = node.parent
            if not isinstance(select, exp.Select) or any(
                value for name, value in node.args.items() if name != "expressions"
            ):
                return False
            return all(self._alike(_behind(part, select), _EXACT) for part in node.expressions)
        if isinstance(node, exp.Distinct):
            parts = node.expressions or (node.parent.expressions if isinstance(node.parent, exp.Select) else None)
            return parts is not None and all(self._alike(part, _EXACT) for part in parts)
        return True

    def _alike(self, expression: Expr, kinds: frozenset[str]) -> bool:
        nodes = list(expression.walk())
        if any(isinstance(one, exp.Star) and not isinstance(one.parent, exp.Count) for one in nodes):
            return bool(self._columns) and all(kind in kinds for kind in self._columns.values())
        whole = all(one.is_string or one.this.isdecimal() for one in nodes if isinstance(one, exp.Literal))
        return whole and all(isinstance(one, _ALIKE) for one in nodes) and self.are(expression, kinds)

    def errors(self, node: Expr) -> frozenset[str]:
        """SQLSTATEs with which a node may fail on some values; several if unknown."""
        if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Neg | exp.Abs):
            return _OVERFLOW if self._is_arithmetic(node) else _ANY_ERROR
        if isinstance(node, exp.Div | exp.IntDiv | exp.Mod):
            return self._division(node)
        if isinstance(node, exp.Cast):
            return self._conversion(node)
        if isinstance(node, exp.Like | exp.ILike):
            pattern = node.expression
            return _NO_ERROR if pattern.is_string and "\\" not in pattern.this else frozenset({"22025"})
        if isinstance(node, exp.DPipe):
            texts = all(one.is_type(*exp.DataType.TEXT_TYPES) for one in node.find_all(exp.DataType))
            return _NO_ERROR if texts and self.are(node, _EXACT | _NUMBERS) else _ANY_ERROR
        if isinstance(node, exp.Subquery):
            return frozenset({"21000"}) if _is_a_value(node) else _NO_ERROR
        if isinstance(node, _NEVER_FAIL):
            return _NO_ERROR
        return _ANY_ERROR if isinstance(node, exp.Predicate) or _is_function(node) else _NO_ERROR

    def _is_arithmetic(self, node: Expr) -> bool:
        operands = [part for part in node.walk() if part is not node]
        return self.are(node, _NUMBERS) and all(
            isinstance(one, _ARITHMETIC) and not (isinstance(one, exp.Literal) and one.is_string) for one in operands
        )

    def _division(self, node: Expr) -> frozenset[str]:
        if not self._is_arithmetic(node):
            return _ANY_ERROR
        divisor = node.expression
        if isinstance(divisor, exp.Literal) and divisor.this.isdecimal() and int(divisor.this) > 0:
            return _NO_ERROR
        # The least integer, divided by -1, is too large.
        literal = isinstance(node.this, exp.Literal) and node.this.this.isdecimal()
        fits = isinstance(node, exp.Mod) or (literal and self.are(node, frozenset({"integer"})))
        return _BY_ZERO if fits else _BY_ZERO | _OVERFLOW

    def _conversion(self, node: exp.Cast) -> frozenset[str]:
        if isinstance(node.this, exp.Literal) or node.to.is_type(*exp.DataType.TEXT_TYPES):
            return _NO_ERROR
        return _OVERFLOW if node.to.is_type(*_INTEGERS) and self._is_arithmetic(node.this) else _ANY_ERROR

    def are(self, expression: Expr, kinds: frozenset[str]) -> bool:
        return all(self._is(column.name.lower(), kinds) for column in expression.find_all(exp.Column))

    def _is(self, name: str, kinds: frozenset[str]) -> bool:
        found = [kind for (_, column), kind in self._columns.items() if column.lower() == name]
        return bool(found) and name not in self._renamed and all(kind in kinds for kind in found)
