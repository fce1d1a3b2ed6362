"""Which functions a statement calls, and what else in its words could observe more than rows.

Whatever is not on a list is not understood. By words and not by the syntax tree: a name before a parenthesis is a
function if the server has one of that name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zephyr_lab.explore.schema import Schema
from zephyr_lab.sql.tokens import Token, names

# Settings that affect how a session's own statements are executed, and nothing that others could notice. Those with
# a dot are the application's own.
SETTINGS = re.compile(
    r"(?i)\w+\.\w+|enable_\w+|(random_page|seq_page)_cost|work_mem|application_name|timezone|datestyle"
    r"|intervalstyle|extra_float_digits|client_min_messages|client_encoding"
    r"|(default_)?transaction_(isolation|read_only)"
)

# PostgreSQL's functions that are not immutable, but depend on the caller's settings at most.
_STABLE = names(
    "concat concat_ws format to_char to_date to_timestamp to_number date_trunc date_part extract timezone date",
    "quote_literal quote_nullable generate_series array_to_string string_to_array enum_range enum_first enum_last",
    "to_json to_jsonb row_to_json array_to_json json_build_object json_build_array jsonb_build_object",
    "jsonb_build_array substring jsonb_set current_setting",
)
# Locks and numbers that all sessions share: such calls depend on each other.
_SHARED = re.compile(r"pg_(try_)?advisory_\w+|nextval|currval|lastval")
# Independent of the order of rows; `row_order` asks for which values.
_IN_ANY_ORDER = names("count sum avg min max bool_and bool_or every bit_and bit_or bit_xor")

# Keywords before a parenthesis, which call nothing that is not also called by name.
_GRAMMAR = names(
    "values in exists any all some as and or not on where select from when then case else using having union intersect",
    "except distinct lateral array returning with between like ilike similar is for limit offset row coalesce nullif",
    "greatest least cast numeric decimal dec varchar char character bit float time timestamp interval int integer",
    "bigint smallint real boolean substring position overlay trim extract left right inner cross natural join group",
    "order to into end default",
)
_LONGEST_NAME = 63  # in bytes
_SYSTEM_COLUMNS = names("ctid xmin xmax cmin cmax tableoid")
_CLOCKS = names("current_timestamp current_time current_date localtime localtimestamp")
_CHANCE = names(
    "now clock_timestamp transaction_timestamp statement_timestamp timeofday random gen_random_uuid uuidv4 uuidv7",
)
_CLOCK_TEXT = re.compile(r"(?i)\b(now|today|tomorrow|yesterday)\b")


@dataclass(frozen=True)
class Calls:
    """`unknown`: not known to be harmless; `shared`: uses a lock or number of all; `ordered`: by the order of rows.

    `clock`: nothing in it is unknown but the time, or chance.
    """

    unknown: bool = False
    shared: bool = False
    ordered: bool = False
    clock: bool = False


def calls_of(statement: Sequence[Token], schema: Schema, own_is_harmless: Callable[[str], bool]) -> Calls:
    """The kinds of all that a statement, or an expression, calls or names."""
    shared = ordered = clock = False
    for place, token in enumerate(statement):
        before = statement[place - 1].text if place else ""
        after = statement[place + 1].text if place + 1 < len(statement) else ""
        name = token.name
        clock = clock or _is_the_time(token)
        if _is_odd(token, statement[place : place + 5]):
            return Calls(unknown=True)
        if after == "(" and name and name not in _CLOCKS:
            kind = _kind(name, before, statement[place - 2].text if place > 1 else "", schema)
            if kind == "setting":
                kind = "ordered" if _sets_what_is_known(statement[place + 2 : place + 4]) else "unknown"
            if kind == "unknown" or (name in schema.own and not own_is_harmless(name)):
                return Calls(unknown=True)
            shared = shared or kind == "shared"
            ordered, clock = ordered or kind == "ordered" or name in schema.own, clock or kind == "clock"
    return Calls(unknown=clock, shared=shared, ordered=ordered, clock=clock)


def is_called_by_a_dot(name: str, schema: Schema) -> bool:
    """Whether `row.name`, where `name` is no column, may call something not known to be harmless."""
    return name in schema.own or schema.functions.get(name, "immutable") != "immutable"


def _is_the_time(token: Token) -> bool:
    return token.name in _CLOCKS or (token.kind == "string" and bool(_CLOCK_TEXT.search(token.text)))


def _is_odd(token: Token, ahead: Sequence[Token]) -> bool:
    """Whether something begins here that may be anything, whatever is called."""
    return token.name in _SYSTEM_COLUMNS or _is_spelled_otherwise(token) or _is_a_type_elsewhere(ahead)


def _is_spelled_otherwise(token: Token) -> bool:
    """Whether the catalogue may have an identifier in another spelling: truncated, or folded by the server's locale."""
    too_long = bool(token.name) and len(token.name.encode()) > _LONGEST_NAME
    return too_long or (token.kind == "word" and token.text != token.text.lower())


def _is_a_type_elsewhere(ahead: Sequence[Token]) -> bool:
    """Whether `::schema.type` or `schema.type 'value'` begins here."""
    words = [token.text for token in ahead]
    cast = words[:2] == [":", ":"] and words[3:4] == ["."] and words[2] != "pg_catalog"
    typed = [token.kind for token in ahead[3:4]] == ["string"] and words[1] == "." and bool(ahead[2].name)
    return cast or (typed and bool(ahead[0].name) and words[0] != "pg_catalog")


def _kind(name: str, before: str, qualifier: str, schema: Schema) -> str:
    """What a name before a parenthesis calls."""
    if (before == "." and qualifier.lower() != "pg_catalog") or name == "operator":
        return "unknown"
    found = schema.functions.get(name)
    if found is None:
        return "grammar" if name in _GRAMMAR or name not in schema.keywords else "unknown"
    if name == "set_config":
        return "setting"
    if _SHARED.fullmatch(name):
        return "shared"
    if name in _CHANCE:
        return "clock"
    if found == "aggregate":
        return "any order" if name in _IN_ANY_ORDER else "ordered"
    return "harmless" if found == "immutable" or name in _STABLE else "unknown"


def _sets_what_is_known(first_argument: Sequence[Token]) -> bool:
    """Whether a setting is named by a literal, and affects its session only."""
    return (
        len(first_argument) == 2
        and first_argument[0].kind == "string"
        and first_argument[1].text == ","
        and bool(SETTINGS.fullmatch(first_argument[0].text[1:-1]))
    )
