"""Classifies the statements of a message, and what follows from their kinds alone.

By PostgreSQL's grammar and behaviour (`PlannedStmtRequiresSnapshot` in its pquery.c lists the kinds that take no
snapshot: DEALLOCATE, DISCARD and CLOSE do take one). What does not match the grammar is UNKNOWN. The effects of
functions that a query calls are not visible here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from zephyr_lab.sql.tokens import Token, UnclearSQL, split, tokens


class Kind(StrEnum):
    """Kinds of statements, by their effect on a transaction, a session or rows."""

    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    RELEASE = "release"
    ROLLBACK_TO = "rollback to"
    PREPARE_TRANSACTION = "prepare transaction"
    COMMIT_PREPARED = "commit prepared"
    ROLLBACK_PREPARED = "rollback prepared"
    SET_TRANSACTION = "set transaction"
    IMPORT_SNAPSHOT = "set transaction snapshot"
    SET_CONSTRAINTS = "set constraints"
    SET = "set"
    RESET = "reset"
    SHOW = "show"
    LOCK = "lock"
    LISTEN = "listen"
    NOTIFY = "notify"  # and UNLISTEN
    DECLARE = "declare"
    FETCH = "fetch"  # and MOVE
    CLOSE = "close"
    DEALLOCATE = "deallocate"
    DISCARD = "discard"
    QUERY = "query"
    CHANGE = "change"  # of rows, also in a WITH
    UNKNOWN = "unknown"


# No other session can notice when it happens: no snapshot or lock is taken, nothing is published.
_LOCAL = {
    Kind.BEGIN, Kind.SAVEPOINT, Kind.RELEASE, Kind.SET_TRANSACTION, Kind.SET, Kind.RESET, Kind.SHOW,
}  # fmt: skip
# A cursor has the snapshot of its DECLARE; deferred constraints are checked with one each.
_NO_SNAPSHOT = _LOCAL | {
    Kind.COMMIT, Kind.ROLLBACK, Kind.ROLLBACK_TO, Kind.PREPARE_TRANSACTION, Kind.COMMIT_PREPARED,
    Kind.ROLLBACK_PREPARED, Kind.SET_CONSTRAINTS, Kind.LOCK, Kind.LISTEN, Kind.NOTIFY, Kind.FETCH,
}  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """One statement. `level` is the one that it names: with SET for later transactions, else for this one.

    `setting` is what SET, RESET or SHOW name; `tables` those of a LOCK, if they are plain names.
    """

    kind: Kind
    text: str = ""
    tokens: tuple[Token, ...] = ()
    level: str = ""
    setting: str = ""
    tables: tuple[str, ...] = ()
    deferrable: bool = False  # at SERIALIZABLE, READ ONLY, the first snapshot may have to wait
    chains: bool = False  # another transaction begins when this one ends
    locks: bool = False  # a table, rows that a query finds, or a number

    @property
    def is_local(self) -> bool:
        """Whether no other session can notice it; False for anything that is not understood."""
        return self.kind in _LOCAL

    @property
    def takes_snapshot(self) -> bool:
        """Whether the transaction has a snapshot from here on; True for what is not understood."""
        return self.kind not in _NO_SNAPSHOT

    @property
    def ends(self) -> bool:
        """Whether it ends the session's transaction."""
        return self.kind in (Kind.COMMIT, Kind.ROLLBACK, Kind.PREPARE_TRANSACTION)


@lru_cache(maxsize=2_048)
def classify(sql: str) -> tuple[Statement, ...]:
    """Each statement of a message; a single UNKNOWN one if a quote is not closed."""
    try:
        return tuple(map(_statement, split(sql)))
    except UnclearSQL:
        return (Statement(Kind.UNKNOWN, sql),)


def is_local(sql: str) -> bool:
    """Whether a message holds statements, and only local ones."""
    found = classify(sql)
    return bool(found) and all(one.is_local for one in found)


_NAME = r'(?:[^\W\d][\w$]*|"")'
_SETTING = rf"(?P<setting>{_NAME}(?: \. {_NAME})*)"
_VALUE = rf"(?:[+-] )?(?:{_NAME}|''|0)"
_MODE = (
    r"(?:isolation level (?:serializable|repeatable read|read committed|read uncommitted)|read only|read write"
    r"|(?:not )?deferrable)"
)
_MODES = rf"(?P<modes>{_MODE}(?: (?:, )?{_MODE})*)"
_WORK, _CHAIN = "(?: work| transaction)?", "(?P<chain> and chain| and no chain)?"
_FOR = "(?: local| session)?"
_SPECIAL = "(?P<special>time zone|session authorization|transaction isolation level)"
_OTHER_NAMES = {
    "time zone": "timezone", "schema": "search_path", "names": "client_encoding", "xml option": "xmloption",
    "session authorization": "session_authorization", "transaction isolation level": "transaction_isolation",
}  # fmt: skip
# Of a statement after `_plain`; the first match counts.
_GRAMMAR = [
    (kind, re.compile(pattern))
    for kind, pattern in [
        (Kind.BEGIN, rf"(?:begin{_WORK}|start transaction)(?: {_MODES})?"),
        (Kind.COMMIT, rf"(?:commit|end){_WORK}{_CHAIN}"),
        (Kind.ROLLBACK, rf"(?:rollback|abort){_WORK}{_CHAIN}"),
        (Kind.ROLLBACK_TO, rf"rollback{_WORK} to(?: savepoint)? {_NAME}"),
        (Kind.SAVEPOINT, rf"savepoint {_NAME}"),
        (Kind.RELEASE, rf"release(?: savepoint)? {_NAME}"),
        (Kind.PREPARE_TRANSACTION, "prepare transaction ''"),
        (Kind.COMMIT_PREPARED, "commit prepared ''"),
        (Kind.ROLLBACK_PREPARED, "rollback prepared ''"),
        (Kind.SET_TRANSACTION, rf"set{_FOR} transaction {_MODES}"),
        (Kind.SET_TRANSACTION, rf"set{_FOR} (?P<setting>transaction_isolation) (?:=|to) {_VALUE}"),
        (Kind.IMPORT_SNAPSHOT, rf"set{_FOR} transaction snapshot ''"),
        (Kind.SET_CONSTRAINTS, rf"set constraints {_NAME}(?: [.,] {_NAME})* (?:deferred|immediate)"),
        (Kind.SET, rf"set{_FOR} session characteristics as transaction {_MODES}"),
        (Kind.SET, rf"set{_FOR} {_SETTING} (?:=|to) {_VALUE}(?: , {_VALUE})*"),
        (Kind.SET, rf"set{_FOR} (?P<special>time zone) (?:{_VALUE}|interval ''(?: [a-z]+)*)"),
        (Kind.SET, rf"set{_FOR} (?P<special>schema|names|role|session authorization|xml option)(?: {_VALUE})?"),
        (Kind.RESET, rf"reset (?:{_SPECIAL}|{_SETTING})"),
        (Kind.SHOW, rf"show (?:{_SPECIAL}|{_SETTING})"),
        (Kind.LOCK, rf"lock(?: table)? (?P<tables>{_NAME}(?: , {_NAME})*)(?: in (?:[a-z]+ )+mode)?(?: nowait)?"),
        (Kind.LOCK, "lock .+"),
        (Kind.LISTEN, rf"listen {_NAME}"),
        (Kind.NOTIFY, rf"notify {_NAME}(?: , '')?|unlisten (?:{_NAME}|\*)"),
        (Kind.DECLARE, rf"declare {_NAME} .*\bcursor .+"),
        (Kind.FETCH, rf"(?:fetch|move)(?: (?:{_NAME}|[+-]|0))+"),
        (Kind.CLOSE, rf"close {_NAME}"),
        (Kind.DEALLOCATE, rf"deallocate(?: prepare)? {_NAME}"),
        (Kind.DISCARD, "discard (?:all|plans|sequences|temp|temporary)"),
        (Kind.CHANGE, r"(?:insert|update|delete|merge) .+"),
        (Kind.CHANGE, r"(?:\( )*with .*[()] (?:insert into|update|delete from|merge into) .+"),
        (Kind.QUERY, r"(?:\( )*(?:select|values|table|with)\b(?!.* into ).*"),  # SELECT INTO creates a table
    ]
]
_LOCKS = re.compile(r"\bfor (?:(?:no key )?update|(?:key )?share)\b|\bpg_(?:try_)?advisory_(?:xact_)?lock")
_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")
_LEVEL = re.compile(rf"isolation level ({'|'.join(_LEVELS)})")
_DEFERRABLE = re.compile(r"(?<!not )deferrable")


def _statement(text: str) -> Statement:
    try:
        words = tokens(text)
    except UnclearSQL:
        return Statement(Kind.UNKNOWN, text)
    text = text[: words[-1].end]  # without trailing comments
    plain = _plain(words)
    for kind, pattern in _GRAMMAR:
        if found := pattern.fullmatch(plain):
            return _described(kind, text, words, plain, found.groupdict())
    return Statement(Kind.UNKNOWN, text, tuple(words))


def _described(kind: Kind, text: str, words: Sequence[Token], plain: str, found: dict[str, str | None]) -> Statement:
    modes, special = found.get("modes") or "", found.get("special") or ""
    setting = (found.get("setting") or _OTHER_NAMES.get(special, special)).replace(" ", "")
    levels = _LEVEL.findall(modes)
    if setting.endswith("transaction_isolation") and _bare(words[-1]) in _LEVELS:
        levels = [_bare(words[-1])]
    return Statement(
        kind, text, tuple(words), levels[-1] if levels else "", setting,
        tuple((found.get("tables") or "").split(" , ")) if found.get("tables") else (),
        deferrable=bool(_DEFERRABLE.search(modes)), chains=found.get("chain") == " and chain",
        locks=kind is Kind.LOCK or (kind in (Kind.QUERY, Kind.CHANGE, Kind.DECLARE) and bool(_LOCKS.search(plain))),
    )  # fmt: skip


def _plain(words: Sequence[Token]) -> str:
    """Tokens with a blank between them, quotes without their content, and numbers as 0."""
    stands_for = {"string": "''", "quoted": '""', "number": "0"}
    return " ".join(stands_for.get(token.kind, token.text) for token in words)


_MENTIONED = re.compile(r"(?is)\bisolation\b.*\blevel\b|transaction_isolation")


def mentions_level(sql: str) -> bool:
    """Whether SQL could set a level: any mention counts, also in a string, since function bodies are strings."""
    try:
        found = tokens(sql)
    except UnclearSQL:
        return True
    words = f" {_plain(found)} "
    return " isolation level " in words or any(token.kind and _MENTIONED.search(token.text) for token in found)


def with_level(sql: str, old: str, new: str) -> str:
    """The same message with one level replaced by another: in a transaction mode, or in a setting."""
    try:
        found = tokens(sql)
    except UnclearSQL:
        return sql
    for place in reversed(range(2, len(found))):
        token, (first, second) = found[place], found[place - 2 : place]
        if _bare(token) != old:
            continue
        if (first.name, second.name) == ("isolation", "level"):
            sql = sql[: token.start] + new + sql[token.end :]
        elif _bare(first).endswith("transaction_isolation") and second.text in ("=", "to", ","):
            sql = f"{sql[: token.start]}'{new}'{sql[token.end :]}"
    return sql


def _bare(token: Token) -> str:
    """A word, or a quoted text, in lower case."""
    return (token.text.split("'")[1] if "'" in token.text else token.text).lower()
