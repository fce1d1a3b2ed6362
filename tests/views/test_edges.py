"""Dependencies on hand-made transcripts, and the WHERE that is understood, compared with SQLite's."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zephyr_lab.views.edges import edges, statements

Rows = list[list[Any]]
COLUMNS = ["id", "n"]


def event(session: str, sql: str, tag: str = "", transaction: int = 1, kind: str = "completed") -> dict[str, Any]:
    results = [{"tag": one} for one in tag.split(";")] if tag else []
    return {
        "session": session,
        "transaction": transaction,
        "step": f"{session}{sql}",
        "sql": sql,
        "event": kind,
        "results": results,
    }


def read(session: str, where: str = "", **more: Any) -> dict[str, Any]:
    return event(session, f"select n from t {where}", **more)


def commit(session: str) -> dict[str, Any]:
    return event(session, "commit")


def found(
    events: Sequence[dict[str, Any]], states: Iterable[Rows], taken: dict[int, tuple[int, int]] | None = None
) -> list[dict[str, Any]]:
    """The edges where the table has such rows before the first event and after each.

    A transaction is committed by COMMIT, or, of a change alone, at once; a snapshot is taken with its statement.
    """
    glances = [{"after": i, "tables": {"t": {"columns": COLUMNS, "rows": rows}}} for i, rows in enumerate(states)]
    begun = {one["session"] for one in events if one["sql"] == "commit"}

    def ends(at: int) -> str | None:
        one = events[at]
        return "committed" if one["sql"] == "commit" or one["session"] not in begun else None

    return edges({"glances": glances}, events, ends, lambda at: (taken or {}).get(at, (at, at)))


def told(*arguments: Any) -> set[str]:
    return {f"{one['from']} {one['kind']} {one['to']}" for one in found(*arguments)}


BEFORE, AFTER = [[1, 0], [2, 0]], [[1, 5], [2, 0]]
CHANGE = "update t set n = 5 where id = 1"


def test_who_read_what_another_then_changed_is_before_it() -> None:
    """Adya's rw (1999): the version read is overwritten; the edge is there when both have committed."""
    (one,) = found([read("A"), event("B", CHANGE), commit("A")], [BEFORE, BEFORE, AFTER, AFTER])
    assert one == {
        "from": "A",
        "to": "B",
        "kind": "rw",
        "steps": [0, 1],
        "since": 3,
        "text": "A read t and did not see what B wrote",
    }


def test_who_read_what_another_had_committed_is_behind_it() -> None:
    """Adya's wr (1999)."""
    (one,) = found([event("B", CHANGE), read("A"), commit("A")], [BEFORE, AFTER, AFTER, AFTER])
    assert one == {
        "from": "B",
        "to": "A",
        "kind": "wr",
        "steps": [0, 1],
        "since": 3,
        "text": "A read t with what B wrote",
    }


def test_a_version_that_another_has_replaced_makes_no_direct_edge() -> None:
    """Adya (1999): wr is from the writer of the version that was read, rw to the writer of the next one."""
    again = event("C", "update t set n = 5 where id = 1")
    states = [BEFORE, AFTER, AFTER, AFTER, AFTER]
    assert told([event("B", CHANGE), again, read("A"), commit("A")], states) == {"B ww C", "C wr A"}
    last = [[1, 9], [2, 0]]
    changes = [event("B", CHANGE), event("C", "update t set n = 9 where id = 1")]
    assert told([read("A"), *changes, commit("A")], [BEFORE, BEFORE, AFTER, last, last]) == {"A rw B", "B ww C"}


def test_who_changed_the_same_row_later_is_behind() -> None:
    """Adya's ww (1999), in the order of the commits; of other rows none."""
    states = [BEFORE, AFTER, [[1, 9], [2, 0]]]
    (one,) = found([event("A", CHANGE), event("B", "update t set n = 9 where id = 1")], states)
    assert one == {
        "from": "A",
        "to": "B",
        "kind": "ww",
        "steps": [0, 1],
        "since": 2,
        "text": "B wrote t after A, the same row",
    }
    other, new = event("B", "update t set n = 9 where id = 2"), event("B", "insert into t values (3, 1)")
    assert told([event("A", CHANGE), other], [BEFORE, AFTER, [[1, 5], [2, 9]]]) == set()
    assert told([event("A", CHANGE), new], [BEFORE, AFTER, [*AFTER, [3, 1]]]) == set()
    inserted = [*BEFORE, [3, 1]]
    assert told(
        [event("A", "insert into t values (3, 1)"), event("B", "delete from t where id = 3")],
        [BEFORE, inserted, BEFORE],
    ) == {"A ww B"}


@pytest.mark.parametrize(
    ("where", "kinds"),
    [
        ("where id = 1", {"A rw B"}),
        ("where id = 2", set()),
        ("where n = 0", {"A rw B"}),
        ("where n = 5", {"A rw B"}),
        ("where n > 5", set()),
        ("where n < 0 or id = 1", {"A rw B"}),
        ("where n = now()", set()),
        ("", {"A rw B"}),
    ],
)
def test_a_read_concerns_what_its_where_finds_before_and_after_the_change(where: str, kinds: set[str]) -> None:
    """A row that a change takes out of the WHERE, or into it; what is not understood is left out."""
    assert told([read("A", where), event("B", CHANGE), commit("A")], [BEFORE, BEFORE, AFTER, AFTER]) == kinds


@pytest.mark.parametrize(
    ("where", "kinds"), [("where id = 3", {"A rw B"}), ("where id = 1", set()), ("where n >= 7", {"A rw B"})]
)
def test_a_new_row_is_read_by_whose_where_would_find_it(where: str, kinds: set[str]) -> None:
    """A phantom; the rows that were there before are none of the insert's."""
    new = [*BEFORE, [3, 7]]
    insert = event("B", "insert into t values (3, 7)", "INSERT 0 1")
    assert told([read("A", where), insert, commit("A")], [BEFORE, BEFORE, new, new]) == kinds


def test_two_reads_and_one_session_make_no_edge() -> None:
    """Nor do two tables."""
    assert told([read("A"), read("B")], [BEFORE] * 3) == set()
    assert told([read("A"), event("A", CHANGE, transaction=2)], [BEFORE, BEFORE, AFTER]) == set()
    assert told([event("A", "select n from u"), event("B", CHANGE)], [BEFORE, BEFORE, AFTER]) == set()


def test_what_was_not_committed_or_not_completed_makes_no_edge() -> None:
    """It never was."""
    events = [read("A"), event("B", CHANGE), commit("A")]
    states = [BEFORE, BEFORE, AFTER, AFTER]
    glances = [{"after": i, "tables": {"t": {"columns": COLUMNS, "rows": rows}}} for i, rows in enumerate(states)]
    for end in ("rolled back", None):
        ends = ["committed", "committed", end].__getitem__
        whole = edges({"glances": glances}, events, lambda at, ends=ends: ends(at) if at else None, lambda at: (at, at))
        assert whole == []
    assert edges({}, events, lambda at: "committed", lambda at: (at, at)) == []
    assert told([read("A"), event("B", CHANGE, kind="failed"), commit("A")], states) == set()


def test_a_step_that_waited_counts_from_when_it_was_sent() -> None:
    """The place of its first event is told; what it read is as it was when it was answered."""
    events = [event("B", CHANGE), read("A", kind="waits"), commit("B"), read("A"), commit("A")]
    states = [BEFORE, BEFORE, BEFORE, AFTER, AFTER, AFTER]
    assert [(one["kind"], one["steps"]) for one in found(events, states)] == [("wr", [0, 1])]
    assert [(one["kind"], one["steps"]) for one in found(events, states, {3: (1, 1)})] == [("rw", [1, 0])]


def test_of_a_wait_changed_rows_are_new_and_inserted_ones_are_not() -> None:
    """READ COMMITTED (manual, 13.2.1): the statement goes on with the newest version of the rows it waited for, in
    the snapshot that it had: what is new since is not seen."""
    waited = {2: (0, 2)}
    assert told(
        [event("X", "select 1"), event("B", CHANGE), read("A"), commit("A")],
        [BEFORE, BEFORE, AFTER, AFTER, AFTER],
        waited,
    ) == {"B wr A"}
    new = [*BEFORE, [3, 7]]
    assert told(
        [event("X", "select 1"), event("B", "insert into t values (3, 7)"), read("A"), commit("A")],
        [BEFORE, BEFORE, new, new, new],
        waited,
    ) == {"A rw B"}


def test_there_is_one_edge_of_a_kind_for_two_transactions() -> None:
    """The first two steps that make it so."""
    events = [read("A"), read("A", "where id = 1"), event("B", CHANGE), commit("A")]
    assert [one["steps"] for one in found(events, [BEFORE, BEFORE, BEFORE, AFTER, AFTER])] == [[0, 2]]


@pytest.mark.parametrize(
    ("sql", "tag", "said"),
    [
        ("select n from t", "", [("t", "read")]),
        ("select n from t; update t set n = 1", "", [("t", "read"), ("t", "change")]),
        ("begin; select n from t", "", [("t", "read")]), ("begin isolation level serializable; select 1", "", []),
        ("start transaction read only, deferrable; select n from t", "", [("t", "read")]),
        ("insert into t values (1, 2)", "INSERT 0 1", [("t", "insert")]),
        ("insert into t values (1, 2)", "INSERT 0 0", []),
        ("insert into t select * from u", "INSERT 0 1", [("u", "read"), ("t", "insert")]),
        ("insert into t select * from u", "INSERT 0 0", [("u", "read")]),
        ("insert into t values (1, 2) on conflict do nothing", "INSERT 0 1", []),
        ("update t set n = 1", "UPDATE 10", [("t", "change")]), ("update t set n = 1", "UPDATE 0", []),
        ("delete from t", "DELETE 1", [("t", "change")]), ("delete from t", "DELETE 0", []),
        ("begin; update t set n = 1; delete from u", "BEGIN;UPDATE 0;DELETE 1", [("u", "change")]),
        ("select n from t, u", "", []), ("select (select 1) from t", "", []),
        ("select n from t where n + 1 = 2", "", []),
        ("select n from t where 1 = n", "", []), ("select n from t where n = id", "", []),
        ("select n from t where not (n = 1 and id = 2::int) or b", "", [("t", "read")]),
        ("select n from t where id = '2'::text", "", [("t", "read")]), ("select n from t where id = '2'::date", "", []),
        ("update t set n = 1 where id in (select id from u)", "UPDATE 1", []), ("truncate t", "", []),
        ("no sql ((", "", []), ("commit", "", []), ("select n from t where random() < 1", "", [("t", "read")]),
        ("select n from t where n = 1 and (id = 2 or id + 1 = 2)", "", []),
        ("select n from t where n + 1 = 2 or n = 1", "", []),
    ],
)  # fmt: skip
def test_which_statements_are_understood(sql: str, tag: str, said: list[tuple[str, str]]) -> None:
    """On one table, with comparisons of columns with constants; a change of no row is none. The others are left out."""
    assert [(table, kind) for table, _, kind in statements(event("A", sql, tag))] == said


columns, numbers = st.sampled_from(["id", "n"]), st.integers(-2, 2)
compared = st.builds(
    lambda column, sign, number: f"{column} {sign} {number}" if number >= 0 else f"{column} {sign} 0",
    columns,
    st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "!="]),
    numbers,
)
texts = st.builds(
    lambda sign, text: f"s {sign} '{text}'", st.sampled_from(["=", "<>", "<", ">="]), st.sampled_from("abc")
)
wheres = st.recursive(
    st.one_of(compared, texts),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
        st.builds("{} and {}".format, inner, inner),
        st.builds("{} or {}".format, inner, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    wheres,
    st.lists(st.sampled_from(list(itertools.product([0, 1, 2], [0, 1, None], [*"abc", None]))), min_size=3, max_size=3),
)
def test_a_where_finds_the_rows_that_a_database_finds(where: str, rows: list[tuple[Any, ...]]) -> None:
    """Compared with SQLite: B's new row makes an edge from whoever would have read it."""
    database = sqlite3.connect(":memory:")
    database.execute("create table t (id int, n int, s text)")
    for row in rows:
        database.execute("delete from t")
        database.execute("insert into t values (?, ?, ?)", row)
        finds = database.execute(f"select count(*) from t where {where}").fetchone() == (1,)
        events = [event("A", f"select n from t where {where}"), event("B", "insert into t values (1)"), commit("A")]
        glances = [
            {"after": i, "tables": {"t": {"columns": ["id", "n", "s"], "rows": there}}}
            for i, there in enumerate([[], [], [list(row)], [list(row)]])
        ]
        ends = [None, "committed", "committed"].__getitem__
        assert bool(edges({"glances": glances}, events, ends, lambda at: (at, at))) is finds, row
    database.close()


@pytest.mark.parametrize(
    ("where", "row", "finds"),
    [
        ("b", True, True), ("b", False, False), ("b", None, False), ("not b", False, True), ("b = 'x'", "x", True),
        ("b = 1", None, False), ("b < 5", None, False), ("b = 'x'", 1, False), ("now() > '2000-01-01'", 1, True),
        ("b = 1 and now() > '2000-01-01'", 2, False), ("b = '1'::text", "1", True), ("b >= 1.5", 1, False),
        ("not b", None, False), ("not (b = 5)", None, False), ("not (b = 5 and b = 6)", None, False),
        ("not (b = 5 or b <> 5)", None, False), ("b = 5 or not (b = 6)", None, False), ("not (b = 5)", 6, True),
        ("b < 9", "10", False), ("b > 9", "10.00", True), ("b = 10", "10.00", True), ("not (b < 9)", "10", True),
        ("b = 9007199254740993", 9007199254740992, False), ("b < 9", "Infinity", False), ("b > 9", "NaN", False),
        ("not (b > 9)", "NaN", False), ("b < '9'", 10, False), ("b > '9'", 10, True), ("not (b = 'x')", 1, False),
        ("b < '9'", "10", False), ("not (b < '9')", "10", False), ("b = '10.0'", "10", False),
        ("not (b = '10.0')", "10", False), ("b < '9'", "8", True), ("not (b < '9'::text)", "10", False),
        ("b < '9'::text", "10", True), ("b = 1", True, False), ("not (b = 1)", True, False), ("not c = 1", 1, False),
    ],
)  # fmt: skip
def test_a_where_on_values_of_other_kinds(where: str, row: Any, finds: bool) -> None:
    """A truth value by itself, and a part without columns, which is taken to be met. NULL is unknown, under NOT too.

    So is a comparison that text and number answer differently, if the column may be either.
    """
    events = [event("A", f"select 1 from t where {where}"), event("B", "insert into t values (1)"), commit("A")]
    glances = [
        {"after": i, "tables": {"t": {"columns": ["b"], "rows": rows}}} for i, rows in enumerate([[], [], [[row]]])
    ]
    ends = [None, "committed", "committed"].__getitem__
    assert bool(edges({"glances": glances}, events, ends, lambda at: (at, at))) is finds


def test_a_table_that_could_not_be_looked_at_is_as_it_was() -> None:
    """Where it was locked against reading it is absent from a glance."""
    events = [read("A", "where n = 5"), event("B", CHANGE), event("C", CHANGE), commit("A")]
    glances = [
        {"after": i, "tables": {"t": {"columns": COLUMNS, "rows": rows}} if rows else {}}
        for i, rows in enumerate([BEFORE, None, AFTER, AFTER, AFTER])
    ]
    ends = [None, "committed", "committed", "committed"].__getitem__
    whole = edges({"glances": glances}, events, ends, lambda at: (at, at))
    assert {f"{one['from']} {one['kind']} {one['to']}" for one in whole} == {"A rw B", "B ww C"}


def test_a_snapshot_taken_with_the_commit_does_not_see_it() -> None:
    """The event of a commit is the last one before it is seen."""
    events = [event("B", CHANGE), read("A"), commit("A")]
    assert told(events, [BEFORE, AFTER, AFTER, AFTER], {1: (0, 0)}) == {"A rw B"}


def test_a_change_to_the_same_value_is_a_change() -> None:
    """Of the rows that its WHERE finds: a version follows a version."""
    events = [event("A", "update t set n = 0 where id = 1"), event("B", CHANGE)]
    assert told(events, [BEFORE, BEFORE, AFTER]) == {"A ww B"}
    others = [event("A", "update t set n = 0 where id = 2"), event("B", CHANGE)]
    assert told(others, [BEFORE, BEFORE, AFTER]) == set()


def test_of_a_table_that_nobody_has_looked_at_there_is_no_edge() -> None:
    """It was locked all the time, say."""
    assert told([event("A", "select n from u"), event("B", "update u set n = 1"), commit("A")], [BEFORE] * 4) == set()
