"""What an operation asks, from its round trips; what is not understood is said."""

from __future__ import annotations

import pytest

from tests.hunt.made import accesses
from zephyr_lab.explore.footprint import OPAQUE, UNKNOWN, Footprint, Rows
from zephyr_lab.functions.outside import LIFETIMES
from zephyr_lab.functions.trace import Trace
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.hunt.access import ADVISORY, REDIS, SEQUENCES, Action, footprint_of
from zephyr_lab.schedule.transcript import Transcript

SLOTS, ORDERS = frozenset({Rows("slots", "id", 1)}), frozenset({Rows("orders")})
NOTHING = Transcript("functions", "read committed", "A", ("A",), (), ())
LOCK = "select pg_advisory_xact_lock(hashtext('slot 18'))"

ASKED = {
    "select booked from slots where id = 1": (Action.READ, {"slots"}, False, False),
    "select booked from slots where id > 1": (Action.READ, {"slots"}, False, True),
    "select count(*) from slots where id = 1": (Action.READ, {"slots"}, False, True),
    "select * from slots": (Action.READ, {"slots"}, False, True),
    "select * from slots where id = 1 for update": (Action.READ, {"slots"}, True, False),
    "insert into orders select 1, id from slots": (Action.INSERT, {"orders"}, False, False),
    "update slots set booked = 1": (Action.CHANGE, {"slots"}, True, False),
    "delete from slots where id = 1": (Action.CHANGE, {"slots"}, True, False),
    "lock table slots in exclusive mode": (Action.LOCK, {"slots"}, True, False),
    LOCK: (Action.LOCK, {ADVISORY}, True, False),
    "select pg_advisory_unlock(1)": (Action.UNLOCK, {ADVISORY}, False, False),
    "redis: GET booked": (Action.READ, {REDIS}, False, False),
    "redis: INCRBY booked 5": (Action.CHANGE, {REDIS}, False, False),
    "redis: SET lock A NX PX 100": (Action.LOCK, {REDIS}, True, False),
    "redis: DEL lock": (Action.UNLOCK, {REDIS}, False, False),
    "commit": (Action.END, set(), False, False),
    "select from where": (Action.OTHER, set(), False, False),
}


@pytest.mark.parametrize("sql", ASKED)
def test_an_access_by_what_is_asked(sql: str) -> None:
    (one,) = accesses(sql)
    assert (one.action, one.targets, one.locks, one.many) == ASKED[sql]
    assert one.where == "shop.py:1"


def test_transactions_are_counted_by_their_ends() -> None:
    asked = accesses("BEGIN; select 1 from slots", "commit", "select 2 from slots", "rollback; select 3 from slots")
    assert [(one.action, one.transaction) for one in asked] == [
        ("read", 0), ("end", 0), ("read", 1), ("end", 1), ("read", 2)
    ]  # fmt: skip


def traced(*trips: RoundTrip, by: Footprint, **about: bool | tuple[str, ...]) -> Trace:
    return Trace(NOTHING, {"A": trips}, lambda sql: by, **about)  # type: ignore[arg-type]


def test_a_footprint_is_by_table_and_its_locks_are_writes() -> None:
    """A read that locks keeps others from the rows, as a write does."""
    trip = RoundTrip("select 1 from slots for update", whole="BEGIN; select 1 from slots for update")
    found = footprint_of(traced(trip, by=Footprint(SLOTS, SLOTS, ORDERS)), "A", trusts_memory=False)
    assert (found.reads, found.writes, found.unclear) == ({"slots"}, {"slots", "orders"}, ())
    assert found.text() == "writes orders, slots"


def test_what_is_not_understood_is_named() -> None:
    for by in (UNKNOWN, OPAQUE):
        found = footprint_of(traced(RoundTrip("select odd()", "select odd()"), by=by), "A", trusts_memory=False)
        assert found.unclear == ("select odd()",)
        assert found.text() == "not understood: select odd()"
    two = (RoundTrip("select odd()", "select odd()"), RoundTrip("select even()", "select even()"))
    assert footprint_of(traced(*two, by=UNKNOWN), "A", trusts_memory=False).text().endswith("odd(), and 1 more")


def test_a_lock_alone_is_understood_as_that_lock() -> None:
    """An advisory lock touches what others lock so; LOCK TABLE its table. With anything beside it, it is not clear."""
    for sql, writes in ((LOCK, {ADVISORY}), ("lock table slots", {"slots"})):
        found = footprint_of(traced(RoundTrip(sql, sql), by=OPAQUE), "A", trusts_memory=False)
        assert (found.writes, found.unclear) == (writes, ())
        assert footprint_of(traced(RoundTrip(sql, sql), by=UNKNOWN), "A", trusts_memory=False).unclear == (sql,)
    more = "select pg_advisory_lock(id) from slots"
    assert footprint_of(traced(RoundTrip(more, more), by=OPAQUE), "A", trusts_memory=False).unclear == (more,)


def test_redis_is_one_place() -> None:
    trips = RoundTrip("redis: GET a", redis=RedisAccess.READS), RoundTrip("redis: INCR b", redis=RedisAccess.WRITES)
    found = footprint_of(traced(*trips, by=UNKNOWN), "A", trusts_memory=False)
    assert (found.reads, found.writes, found.unclear) == ({REDIS}, {REDIS}, ())


def test_how_long_keys_live_is_a_matter_of_redis() -> None:
    """It is not compared, and concerns nobody who asks Redis nothing."""
    trip = RoundTrip("redis: SET a 1 EX 60", redis=RedisAccess.WRITES)
    found = footprint_of(traced(trip, by=UNKNOWN, unseen=(LIFETIMES, "files")), "A", trusts_memory=True)
    assert (found.writes, found.unseen) == ({REDIS}, ("files",))


@pytest.mark.parametrize("shared", [True, False])
def test_a_sequence_matters_if_several_tables_draw_from_it(shared: bool) -> None:
    by = Footprint(ORDERS, writes=ORDERS | {Rows("", "sequences")})
    trace = traced(RoundTrip("insert into orders values (1)"), by=by, numbers_are_shared=shared)
    assert (SEQUENCES in footprint_of(trace, "A", trusts_memory=False).writes) is shared


def test_hidden_memory_is_unseen_unless_it_is_trusted() -> None:
    trace = traced(by=Footprint(), hides_memory=True, unseen=("files: a.txt",))
    assert footprint_of(trace, "A", trusts_memory=True).unseen == ("files: a.txt",)
    assert len(footprint_of(trace, "A", trusts_memory=False).unseen) == 2
