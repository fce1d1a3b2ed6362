"""What a message may touch, read from its SQL: an over-estimate, so whatever is not understood touches everything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zephyr_lab.explore.footprint import UNKNOWN, Ending, Footprint, Rows, meet
from zephyr_lab.explore.schema import Schema
from zephyr_lab.explore.statement import Reader

KEYS = frozenset({("slots", "slot"), ("orders", "id")})
IMMUTABLE = "int4range upper abs length lower count_of"
AGGREGATES = "count sum avg min max string_agg array_agg any_value"
OTHER = "random nextval pg_advisory_lock pg_try_advisory_xact_lock pg_advisory_xact_lock now"
OTHER += " set_config current_setting pg_sleep query_to_xml to_char"
SCHEMA = Schema(
    tables=frozenset({"slots", "orders", "lines", "tree"}),
    foreign_keys=frozenset({("lines", "orders"), ("tree", "tree")}),
    unique=KEYS, keys=KEYS,
    columns={("slots", "slot"): "text", ("slots", "booked"): "integer", ("slots", "twice"): "integer",
             ("slots", "share"): "other", ("orders", "id"): "integer", ("orders", "price"): "unscaled",
             ("orders", "late"): "text", ("tree", "id"): "integer", ("tree", "up"): "integer"},
    generated=frozenset({("slots", "twice")}),
    own={"remember": "select set_config('app.n', n::text, true)::int", "take": "delete from orders", "quarter": "",
         "late": "select now() is null"},
    functions={**dict.fromkeys(IMMUTABLE.split(), "immutable"), **dict.fromkeys(AGGREGATES.split(), "aggregate"),
               **dict.fromkeys(OTHER.split(), "other")},
    keywords=frozenset({"values", "in", "json_arrayagg", "exists"}),
)  # fmt: skip
READER = Reader(SCHEMA)
SLOTS, ORDERS, LINES = Rows("slots"), Rows("orders"), Rows("lines")
IN_SLOTS = frozenset({"slots"})
SIX = Rows("slots", "slot", "18:00")


def rows(*some: Rows) -> frozenset[Rows]:
    return frozenset(some)


UNDERSTOOD = {
    "begin isolation level serializable": Footprint(begins=True),
    "commit": Footprint(ends=Ending.COMMIT),
    "abort": Footprint(ends=Ending.ROLLBACK),
    "rollback to savepoint s": Footprint(ends=Ending.TO_SAVEPOINT),
    "savepoint s": Footprint(saves=True),
    "set local app.x = 'y'": Footprint(),
    "select booked from slots where slot = '18:00'": Footprint(rows(SIX), idle=False),
    "select orders.late from orders": Footprint(rows(ORDERS), idle=False),
    "select o.late from slots, ORDERS O": Footprint(rows(SLOTS, ORDERS), idle=False),
    "select booked from slots where '18:00' = slot": Footprint(rows(SLOTS), idle=False),
    "select booked from slots where slot = '18:00' or booked = 1": Footprint(rows(SLOTS), idle=False),
    "select remember(booked), upper(slot) from slots for update": Footprint(
        rows(SLOTS), rows(SLOTS), by_place=IN_SLOTS, idle=False
    ),
    "select remember(booked) from slots where slot = '18:00'": Footprint(rows(SIX), idle=False),
    "select 1 from slots s join orders o on true": Footprint(rows(SLOTS, ORDERS), idle=False),
    "update slots set booked = 1 where slot = '18:00' and booked < 9": Footprint(*[rows(SIX)] * 3, idle=False),
    "update slots set booked = 1 where slot = '18:00' and remember(1) = 1": Footprint(*[rows(SIX)] * 3, idle=False),
    "update slots set booked = 1 where slot = '18:00' and (1 / booked) is null": Footprint(
        *[rows(SLOTS)] * 3, by_place=IN_SLOTS, idle=False
    ),
    "update slots set booked = 1 where twice = 18": Footprint(
        rows(Rows("slots", "twice", 18), SLOTS), *[rows(SLOTS)] * 2, by_place=IN_SLOTS, idle=False
    ),
    "update slots set slot = '18:15' where slot = '18:00'": Footprint(rows(SIX, SLOTS), *[rows(SLOTS)] * 2, idle=False),
    "delete from slots": Footprint(*[rows(SLOTS)] * 3, by_place=IN_SLOTS, idle=False),
    "delete from tree where id = 1": Footprint(
        rows(Rows("tree", "id", 1), Rows("tree")), *[rows(Rows("tree"))] * 2, by_place=frozenset({"tree"}), idle=False
    ),
    "insert into lines values (1)": Footprint(*[rows(LINES, ORDERS)] * 3, inserts=rows(LINES, ORDERS), idle=False),
    "insert into slots select 'x', max(id) from orders": Footprint(
        rows(SLOTS, ORDERS),
        rows(SLOTS),
        rows(SLOTS),
        inserts=rows(SLOTS),
        by_place=frozenset({"slots", "orders"}),
        idle=False,
    ),
    "insert into slots select 'x', 1 where not exists (select from orders)": Footprint(
        rows(SLOTS, ORDERS), rows(SLOTS), rows(SLOTS), inserts=rows(SLOTS), idle=False
    ),
    "select sum(y.booked) from slots x, SLOTS y where x.slot = '18:00'": Footprint(rows(SLOTS), idle=False),
    "select * from slots, generate(1) as g(booked) where g.booked = 1": Footprint(rows(SLOTS), idle=False),
    "select slot from slots as s (booked, slot) where booked = 1": Footprint(rows(SLOTS), idle=False),
    "select count(*) filter (where slot = '18:00') from slots": Footprint(rows(SLOTS), idle=False),
    "update slots set (slot, booked) = ('b', 1) where slot = '18:00'": Footprint(
        rows(SIX, SLOTS), *[rows(SLOTS)] * 2, idle=False
    ),
    "update slots set SLOT = 'b' where slot = '18:00'": Footprint(rows(SIX, SLOTS), *[rows(SLOTS)] * 2, idle=False),
    "begin isolation level read committed, read only": Footprint(begins=True),
    "set default_transaction_isolation to 'serializable'": Footprint(),
    "reset work_mem": Footprint(),
    "set time zone 'UTC'": Footprint(),
    "show transaction isolation level": Footprint(),
    "begin isolation/**/level serializable": Footprint(begins=True),
    "deallocate all": Footprint(idle=False),
    "begin; select booked from slots; commit": Footprint(rows(SLOTS), begins=True, ends=Ending.COMMIT, idle=False),
}


@pytest.mark.parametrize("sql", list(UNDERSTOOD))
def test_a_statement_touches(sql: str) -> None:
    """What it reads, locks, writes; and whether it begins or ends a transaction."""
    assert replace(READER.footprint(sql), scans=True) == UNDERSTOOD[sql]


SCANS = (
    "select booked from slots where slot = '18:00' for update", "select count(*) from slots", "select 1",
    "update slots set booked = 1 where slot = '18:00'", "delete from slots", "insert into slots values ('x', 1)",
    "insert into slots select 'x', 1 where remember(1) = 1", "begin", "set transaction isolation level serializable",
    "commit",
)  # fmt: skip
READS_LESS = (
    "select booked from slots limit 1", "select booked from slots fetch first row only",
    "select exists (select from slots)",
    "select 1 from slots, orders", "select booked from slots where slot in (select slot from slots)",
    "select booked from slots where ctid = '(0,1)'", "select 1 from slots tablesample system (50)",
    "with s as (select * from slots) select sum(booked) from s",
    "insert into slots values ('x', 1) on conflict do nothing",
    "insert into slots select 'x', max(id) from orders", "insert into lines values (1)", "delete from orders",
    "begin read only", "begin isolation level serializable read  only", "set transaction_read_only = on",
    "set session characteristics as transaction read only", "select set_config('transaction_read_only', 'on', true)",
    "select booked from slots; select booked from slots limit 1", "lock table slots",
)  # fmt: skip


@pytest.mark.parametrize("sql", [*SCANS, *READS_LESS])
def test_what_has_no_index_scans_one_table_to_its_end(sql: str) -> None:
    """Else it may meet fewer rows than it locks; keys to other tables are looked up by their indexes."""
    assert READER.footprint(sql).scans == (sql in SCANS)


@pytest.mark.parametrize(
    "sql",
    [
        "lock table slots",
        "lock slots, orders in access share mode nowait",
        "select nextval('s')",
        "select pg_advisory_lock(1)",
        "begin read only deferrable",
        "fetch c",
        "close c",
        "declare c cursor for select slot from slots for update",
        "update slots set booked = 1 where current of c",
        "merge into slots using orders on true when matched then delete",
        "merge into slots using orders on true when matched then update set booked = 1",
        "with gone as (delete from orders returning id) merge into slots using gone on true when matched then delete",
    ],
)
def test_what_locks_tables_or_is_shared_touches_everything(sql: str) -> None:
    """It is known to do no more than that."""
    found = READER.footprint(sql)
    assert (found.opaque, found.unknown) == (True, False)


@pytest.mark.parametrize(
    "sql",
    [
        "select take()", "select quarter(1)", "select late()", "create table t ()", "select * from pg_locks",
        "select * from elsewhere", "select 'unclosed", "select from where", "select * from o.slots",
        "with slots as (select * from slots) select sum(booked) from slots", "lock table elsewhere", "truncate slots",
        "set transaction deferrable", "set default_transaction_deferrable = on", "set search_path = o", "reset all",
        "set lock_timeout = 1", "set role r", "select set_config('search_path', 'o', false)",
        "select set_config('app.' || 'n', '1', true)", "commit and chain", "discard plans",
        "select now()", "select current_timestamp", "insert into slots values ('now')", "select ctid from slots",
        'select "xmin" from slots', "select pg_sleep(1)", "select query_to_xml('select 1')", "select o.upper('x')",
        "select slots.array_agg from slots", "select 1 operator(o.+) 1", "select json_arrayagg(slot) from slots",
        "select booked::o.odd from slots", "select cast(booked as o.odd) from slots", "select o.odd '1'",
        "update slots set nothing = 1", "update slots set Ä = 1", f"select {'x' * 64} from slots",
        "select Ä() from slots",
        "select slots.late from slots", "select s.late from slots s, orders o", "select s.late from (select 1) s",
        "select o.late from orders o (id, cost)",
        "select (select o.late from (select 1) o) from orders o",
        "select slot into t from slots", "select U&'!0061' uescape '!'",
        "declare c cursor with hold for select slot from slots", "declare c cursor for select * from pg_locks",
    ],
)  # fmt: skip
def test_what_is_not_understood_may_see_anything(sql: str) -> None:
    """Other schemas, settings, functions, clocks, columns of the system's, and what does not parse."""
    assert READER.footprint(sql).unknown


@pytest.mark.parametrize(
    "sql",
    [
        "select slot from slots limit 1", "select distinct on (booked) slot from slots",
        "select distinct share from slots",
        "select sum(share) from slots", "select sum(price::float) from orders", "select max(price) from orders",
        "select any_value(slot) from slots", "select sum(booked) over (rows 1 preceding) from slots",
        "select array(select slot from slots)", "select sum(booked) from (select share as booked from slots) x",
        "update slots set booked = id from orders", "insert into lines select id from orders on conflict do nothing",
        "select slot from slots for update", "select string_agg(slot, ',') from slots",
        "select 1 / booked, slot::int from slots", "select slot::int from slots", "select booked / twice from slots",
        "select 1 / booked, twice + 1 from slots", "select 1 / booked, 'a' ~ slot from slots",
        "select exists (select from slots where 1 / booked > 0)", "select 1 > all (select 1 / booked from slots)",
        "select (select 1 / booked from slots)", "select quarters(booked) from slots",
        "select sum(booked ^ -1) from slots",
        "insert into lines select 1 where exists (select from slots where 1 / booked > 0)",
        "select max(booked) from slots where 1 / twice > 0", "select distinct slot::numeric from slots",
        "select slot::numeric, count(*) from slots group by 1", "select id from tree union select 1.0",
        "select distinct case when id = 1 then 1.0 else 1.00 end from tree", "select avg(power(booked, -1)) from slots",
        "select distinct slot from (select slot::numeric from slots) x",
        "select 1 / booked from slots where 'a' like slot",
    ],
)  # fmt: skip
def test_what_depends_on_where_rows_lie(sql: str) -> None:
    """Some rows of several, values in a row, and sums and maxima of values that are not exact."""
    found = READER.footprint(sql)
    assert found.by_place
    assert not found.opaque


@pytest.mark.parametrize(
    "sql",
    [
        "select slot, booked from slots order by booked", "select sum(price), avg(price), count(*) from orders",
        "select max(booked) + 1, min(slot) from slots", "select distinct id from tree",
        "select up, count(*) from tree group by up", "select id from tree union select up from tree",
        "select 1 / booked from slots", "select booked + 1, twice - 1 from slots", "select booked % 2 from slots",
        "select booked / 2, booked::text, slot || '!' from slots", "select max(booked) + 1, 1 / sum(twice) from slots",
        "select (select max(booked) + 1 from slots)", "select booked from slots where booked in (select id from tree)",
        "select distinct slot from slots", "select slot, count(*) from slots group by 1",
        "select upper(slot), booked between 1 and 2 from slots where slot like 'a%'",
    ],
)  # fmt: skip
def test_what_does_not_depend_on_where_rows_lie(sql: str) -> None:
    """Rows are compared as a bag."""
    found = READER.footprint(sql)
    assert (found.by_place, found.opaque) == (frozenset(), False)


@pytest.mark.parametrize(
    "schema",
    [
        Schema(frozenset({"t"}), plain=False),
        Schema(frozenset({"t"}), expressions=("nextval('s'::regclass) > 1",), functions=SCHEMA.functions),
        Schema(frozenset({"t"}), expressions=("now() > late",), functions=SCHEMA.functions),
    ],
)
def test_a_schema_that_does_more_with_any_row_is_not_understood(schema: Schema) -> None:
    """Whatever the statement."""
    assert Reader(schema).footprint("begin") == UNKNOWN


INSERT, UPDATE = "insert into lines values (1)", "update slots set booked = 1"
TO_DEFAULT = "update lines set price = default"
ABOVE = "insert into orders values (1, 2, 'x')"


@pytest.mark.parametrize("default", ["now()", "CURRENT_TIMESTAMP", "pg_try_advisory_xact_lock(1)", "quarter(1)"])
def test_a_default_that_is_not_understood_concerns_those_who_fill_it_in(default: str) -> None:
    """A time, or chance, touches nothing of others; a function with an effect may touch anything."""
    columns = SCHEMA.columns | {("lines", "price"): "integer"}
    plain, reader = (Reader(replace(SCHEMA, columns=columns, defaults=some)) for some in ((), (("lines", default),)))
    for sql in ("update lines set price = 1", "delete from lines", ABOVE, "begin", "select 1 from lines for update"):
        assert reader.footprint(sql) == plain.footprint(sql)
        assert not reader.footprint(sql).unknown
    for sql in (INSERT, TO_DEFAULT, f"with s as ({INSERT} returning price) select price from s"):
        found = reader.footprint(sql)
        assert (found.unknown, found.opaque) == (True, True)
        assert found.clock is (default in ("now()", "CURRENT_TIMESTAMP"))
        assert not found.clock or (found.writes, found.locks) == (plain.footprint(sql).writes,) * 2


def test_where_a_key_may_set_a_default_any_change_may_fill_it_in() -> None:
    reader = Reader(replace(SCHEMA, sets_defaults=True, defaults=(("lines", "now()"),)))
    assert reader.footprint("delete from orders").unknown
    assert not reader.footprint(UPDATE).unknown


def test_a_generated_column_is_filled_in_by_a_change_too() -> None:
    reader = Reader(replace(SCHEMA, defaults=(("slots", "quarter(1)"),)))
    assert reader.footprint(UPDATE) == UNKNOWN  # `twice` of slots is generated


def test_a_trigger_concerns_those_who_change_its_table() -> None:
    """Or one from which a foreign key leads to it; they are understood in no way."""
    events = ("insert", "update", "delete")
    reader = Reader(replace(SCHEMA, triggered=frozenset(("lines", event) for event in events)))
    for sql in ("select 1 from lines for update", UPDATE, "commit"):
        assert reader.footprint(sql) == READER.footprint(sql)
    for sql in (INSERT, "delete from lines", "delete from orders", "with l as (delete from lines) select 1"):
        assert reader.footprint(sql) == UNKNOWN


def test_a_trigger_concerns_the_kinds_of_change_that_it_is_for() -> None:
    """An INSERT with ON CONFLICT may update; what hangs on a row by a foreign key may be changed in any way."""
    reader = Reader(replace(SCHEMA, triggered=frozenset({("slots", "update")})))
    for sql in (UPDATE, "insert into slots values ('x', 1) on conflict (slot) do update set booked = 1"):
        assert reader.footprint(sql) == UNKNOWN
    for sql in ("insert into slots values ('x', 1)", "delete from slots"):
        assert reader.footprint(sql) == READER.footprint(sql) != UNKNOWN
    below = Reader(replace(SCHEMA, triggered=frozenset({("lines", "delete")})))
    assert below.footprint("delete from orders") == below.footprint("update orders set id = 2") == UNKNOWN
    assert below.footprint(INSERT) == READER.footprint(INSERT)


def test_changes_in_a_with_touch_whole_tables() -> None:
    """In any order, so that the order of their rows counts."""
    found = READER.footprint(
        "with o as (insert into orders values (9, 1, 'x') returning 1) insert into slots select 'x', 1 from o"
    )
    assert (found.writes, found.locks, found.opaque) == (rows(ORDERS, LINES, SLOTS), rows(ORDERS, LINES, SLOTS), False)
    found = READER.footprint(
        "with o as (delete from slots where slot = 'a' returning booked) select * from o for update"
    )
    assert (found.reads, found.writes, found.by_place) == (rows(SLOTS), rows(SLOTS), IN_SLOTS)
    found = READER.footprint(
        "with o as (update slots set booked = 1 returning 1) select id from orders, o for update of orders"
    )
    assert (found.writes, found.locks) == (rows(SLOTS), rows(SLOTS, ORDERS))


def test_time_and_chance_in_a_statement_hide_nothing_of_what_it_touches() -> None:
    """What is not understood beside them, does."""
    for sql in (
        "update slots set booked = 1 where share > now()",
        "select random() from slots",
        "select 'now' from slots",
    ):
        found = READER.footprint(sql)
        assert (found.clock, found.unknown, found.opaque, found.reads) == (True, True, True, rows(SLOTS))
    for beside in ("pg_sleep(1)", "pg_advisory_lock(1)", "nextval('s')", "o.now()", "ctid"):
        found = READER.footprint(f"select now(), {beside} from slots")
        assert (found.clock, found.unknown) == (False, True)
    both = READER.footprint("select now() from slots; select pg_sleep(1)")
    assert (both.clock, both.unknown) == (False, True)
    assert READER.footprint("select booked from slots; select now() from orders").clock


def test_nothing_is_logged_about_what_other_dialects_lack(caplog: pytest.LogCaptureFixture) -> None:
    """A notebook shows what is."""
    READER.footprint("update slots set booked = 1 where slot = (select slot from slots limit 1 for update skip locked)")
    assert caplog.messages == []


def test_a_number_is_taken_for_a_row_that_is_new() -> None:
    """By a default, whichever schema its sequence is in."""
    schema = replace(SCHEMA, defaults=(("slots", "nextval('o.s'::regclass)"),))
    assert Rows("", "sequences") in Reader(schema).footprint("insert into slots values ('x', 1)").locks
    assert Rows("", "sequences") not in Reader(schema).footprint("update slots set booked = 1").locks


def test_rows_of_the_same_table_meet_unless_a_column_tells_them_apart() -> None:
    """A number and a text may be the same value."""
    assert not meet(rows(SIX), rows(Rows("slots", "slot", "18:15")))
    for other in (SIX, SLOTS, Rows("slots", "booked", 1), Rows("slots", "slot", 18)):
        assert meet(rows(SIX), rows(other))
    assert not meet(rows(SLOTS), rows(ORDERS))
