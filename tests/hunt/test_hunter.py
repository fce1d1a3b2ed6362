"""Hunts among functions on a real server: the right matrix, with its counterexamples."""

from __future__ import annotations

import multiprocessing
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.hunt import shop
from tests.hunt.shop import Connection
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, SetupFailed
from zephyr_lab.hunt import decision
from zephyr_lab.hunt.hunter import LAST_SECONDS, LEAST_SECONDS, share_of
from zephyr_lab.hunt.report import Hunt

RACES = {("book", "book"), ("book", "add"), ("order", "order")}
ORDERS = "create table orders (id int primary key, state text not null)"


def kinds(found: Hunt, kind: str) -> set[tuple[str, ...]]:
    return {names for names, one in found.decisions.items() if one.kind == kind}


def check(found: Hunt) -> None:
    """What is to be found in the shop."""
    assert len(found.decisions) == 28
    assert kinds(found, "races") == RACES
    assert kinds(found, "aborts") == {("move", "move_back")}
    assert kinds(found, "undecided") == set()
    assert {one.operations: one.pattern for one in found.races} == {
        ("book", "book"): "read-then-write", ("book", "add"): "read-then-write", ("order", "order"): "count-then-insert"
    }  # fmt: skip


def test_a_shop_has_its_races_and_no_other(lab: Lab) -> None:
    """Two that never meet are not explored; a race says where it is, and what helps."""
    found = lab.hunt(shop.ALL, setup=shop.SETUP)
    check(found)
    apart = found.decisions["look", "visit"]
    assert (apart.schedules, apart.why) == (0, "independent: reads slots | writes visits")
    race = found.decisions["book", "book"]
    assert race.finding
    assert [place.partition("shop.py:")[2] for place in race.finding.places] == ["22", "23"]
    assert race.finding.explanation[0].startswith("lost update: ")
    assert race.finding.transcript["glances"]
    assert race.schedules < 20
    assert found.decisions["move", "move_back"].why == "40P01, and no anomaly in all 12 schedules"
    text = str(found)
    assert "  6  look" in text
    assert text.count("select booked from slots where id = 1") == 3
    assert "lost update" in found.to_html()
    assert len(found.to_sarif()["runs"][0]["results"]) == 3


def test_each_race_is_written_for_others(lab: Lab, tmp_path: Path) -> None:
    """In each form that can hold it; what was exported is said. A folder that cannot be made is refused at once."""
    folder = tmp_path / "for others"
    histories = tmp_path / "histories"
    found = lab.hunt({"book": shop.book, "look": shop.look}, setup=shop.SETUP, export=folder, history=histories)
    names = {f"book+book{suffix}" for suffix in (".html", ".spec", ".sql", ".py")}
    assert {one.name for one in folder.iterdir()} == names
    (race,) = found.races
    assert race.finding
    *exports, history = race.finding.exports
    assert exports == [f"exported: {folder / 'book+book'}{one}" for one in decision.FORMS]
    file = histories / "book+book.edn"
    assert history == f"history: {file}: not valid at serializable: lost-update, G-single-item"
    assert [one.name for one in histories.iterdir()] == [file.name]
    assert f"exported: {folder / 'book+book.sql'}" in str(found)
    assert lab.case(folder / "book+book.spec").explore().anomalous > 0
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cannot be exported into the folder .*file"):
        lab.hunt({"look": shop.look}, setup=shop.SETUP, export=tmp_path / "file")


@pytest.mark.thorough
def test_several_processes_find_the_same(lab: Lab) -> None:
    found = lab.hunt(shop.ALL, setup=shop.SETUP, jobs=2)
    check(found)
    assert found.notes == []


def test_what_no_other_process_can_import_stays_in_this_one(lab: Lab) -> None:
    lock = threading.Lock()

    def look(conn: Connection) -> object:
        return shop.look(conn) if lock else None

    found = lab.hunt({"look": look}, setup=shop.SETUP, jobs=2)
    assert kinds(found, "safe") == {("look", "look")}
    (note,) = found.notes
    assert re.match(r"one process, not 2: look \(.*look\) cannot be sent to a worker \(.*lock", note)
    with ThreadPoolExecutor(1) as executor, pytest.raises(BadInput, match="cannot be sent to a worker"):
        lab.hunt({"look": look}, setup=shop.SETUP, executor=executor)


def create(conn: Connection) -> None:
    conn.execute("insert into orders values (1, 'new')")


def change(conn: Connection, before: str, after: str) -> str:
    """Reads, and then writes: as often as it is called at a time."""
    row = conn.execute("select state from orders where id = 1").fetchone()
    if row != (before,):
        raise ValueError(f"the order is {row}")
    conn.execute("update orders set state = %s where id = 1", [after])
    return after


def pay(conn: Connection) -> str:
    return change(conn, "new", "paid")


def refund(conn: Connection) -> str:
    return change(conn, "paid", "refunded")


def complain(conn: Connection) -> None:
    conn.execute("select from orders where id = 7")
    raise ValueError("nobody has ordered 7")


def test_what_works_only_after_another_one_is_hunted_so(lab: Lab) -> None:
    """And after what that one needs; what never works is hunted as it is, and said."""
    found = lab.hunt({"refund": refund, "pay": pay, "create": create, "complain": complain}, setup=ORDERS)
    known = found.operations
    assert [known[name].prefix for name in known] == [("create", "pay"), ("create",), (), ()]
    assert known["pay"].trouble == "raised ValueError('the order is None')"
    assert "hunted after create, pay" in known["refund"].text()
    assert "and after no other one: hunted as it is" in known["complain"].text()
    assert kinds(found, "races") >= {("pay", "pay"), ("refund", "refund")}
    assert found.decisions["refund", "refund"].prefix == ("create", "pay")
    assert "refund with refund (after create, pay)" in str(found)
    alone = found.decisions["complain", "complain"]  # which only reads
    assert alone.kind == "undecided"
    assert alone.why.startswith("nothing was tested: raised ValueError('nobody has ordered 7')")
    assert found.decisions["create", "complain"].kind == "safe"


def test_what_always_fails_is_tested_by_nothing(lab: Lab) -> None:
    """Unless that is intended."""

    def fail(conn: Connection) -> None:
        conn.execute("update orders set state = '' where id = 7")
        raise ValueError("as always")

    found = lab.hunt({"fail": fail}, setup=ORDERS).decisions["fail", "fail"]
    assert (found.kind, found.ran_out) == ("undecided", False)
    assert found.why.startswith("nothing was tested: in every schedule they raised ValueError('as always'); give")
    assert lab.hunt({"fail": fail}, setup=ORDERS, may_raise=True).decisions["fail", "fail"].kind == "safe"


def nothing(conn: Connection) -> None:
    """Asks nothing."""


def test_what_asks_nothing_is_said(lab: Lab) -> None:
    found = lab.hunt({"nothing": nothing, "create": create}, setup=ORDERS)
    assert found.unhunted == ["nothing"]
    assert "makes no round trip" in str(found) or "made a round trip" in str(found)
    assert set(found.decisions) == {("create", "create")}


def test_a_check_in_redis_races_and_a_counter_does_not(lab: Lab) -> None:
    def check_then_set(redis: redis.Redis) -> None:
        if not redis.get("hunt:taken"):
            redis.incrby("hunt:taken", 1)

    def count(redis: redis.Redis) -> None:
        redis.incrby("hunt:count", 1)

    found = lab.hunt({"check": check_then_set, "count": count})
    assert kinds(found, "races") == {("check", "check")}
    assert found.races[0].pattern == "check-in-redis-then-write"


def test_memory_of_the_program_keeps_operations_from_being_independent(lab: Lab) -> None:
    """Neither table is the other's, and a race is in a dict."""
    taken: dict[str, bool] = {}

    def one(conn: Connection) -> bool:
        was = taken.get("18:00", False)
        conn.execute("insert into a values (1)")
        taken["18:00"] = True
        return was

    def other(conn: Connection) -> bool:
        was = taken.get("18:00", False)
        conn.execute("insert into b values (1)")
        taken["18:00"] = True
        return was

    def reset(conn: Connection) -> None:
        taken.clear()

    found = lab.hunt({"one": one, "other": other}, setup=["create table a (n int); create table b (n int)", reset])
    assert found.decisions["one", "other"].kind == "races"
    assert found.decisions["one", "other"].pattern == "memory"


def skew(conn: Connection, mine: int) -> None:
    (doctors,) = conn.execute("select count(*) from doctors where here").fetchone() or (0,)
    if doctors > 1:
        conn.execute("update doctors set here = false where id = %s", [mine])


@pytest.mark.thorough
def test_an_invariant_that_is_violated_is_found(lab: Lab) -> None:
    def leave(conn: Connection) -> None:
        skew(conn, 1)

    def go(conn: Connection) -> None:
        conn.execute("update doctors set here = false where id = 2")

    setup = "create table doctors (id int primary key, here bool); insert into doctors values (1, true), (2, true)"
    found = lab.hunt({"leave": leave, "go": go}, setup=setup, invariant="select bool_or(here) from doctors")
    race = found.decisions["leave", "go"]
    assert race.kind == "races"
    assert race.finding


def test_a_budget_that_ends_leaves_pairs_undecided_with_what_was_run(lab: Lab) -> None:
    found = lab.hunt(shop.OPERATIONS, setup=shop.SETUP, budget=0.01)
    assert kinds(found, "races") == set()
    left = found.decisions["book", "book"]
    assert (left.kind, left.why, left.schedules) == ("undecided", "the budget ended before its turn", 0)
    assert kinds(found, "safe") == {one for one in found.decisions if "order" in one and one != ("order", "order")} | {
        ("look", "look")
    }


def test_the_most_suspicious_have_what_they_need_of_a_budget_that_is_too_small_for_all() -> None:
    """An equal share of a thousand pairs would suffice for none of them."""
    assert share_of(60.0, 1000, 1) == LEAST_SECONDS > LAST_SECONDS
    assert share_of(1.0, 1000, 1) == 1.0
    assert share_of(60.0, 10, 2) == 12.0
    assert share_of(-1.0, 10, 2) == 0.0


def test_a_time_that_the_server_fills_in_depends_on_nobody(lab: Lab) -> None:
    """Nor does chance, or a trigger of another table; who has the trigger run is explored with everybody."""

    def note(conn: Connection) -> None:
        conn.execute("insert into notes (id) values (1)")

    def stamp(conn: Connection) -> None:
        conn.execute("update visits set hits = hits + 1 where page < now()::text")

    def watch(conn: Connection) -> None:
        conn.execute("insert into watched values (1)")

    setup = f"""
    {shop.SETUP} create table notes (id int, made timestamptz default now(), tag uuid default gen_random_uuid());
    create table watched (id int);
    create function count_visit() returns trigger language plpgsql as
      'begin perform hits from visits; update visits set hits = hits + 1; return new; end';
    create trigger counting before insert on watched for each row execute function count_visit()"""
    found = lab.hunt({"note": note, "stamp": stamp, "watch": watch}, setup=setup)
    apart = found.decisions["note", "stamp"]
    assert (apart.kind, apart.schedules) == ("safe", 0)
    assert apart.why == "independent: writes notes | writes visits"
    assert found.decisions["note", "watch"].schedules > 0
    assert "not understood" in found.operations["watch"].text()


@pytest.mark.thorough
def test_time_is_shared_and_what_is_left_over_goes_to_who_needs_it(lab: Lab) -> None:
    """The first pair has many schedules, and a part of the time at first; then all that the other ones have left."""

    def many(conn: Connection) -> None:
        conn.autocommit = True
        for _ in range(6):
            conn.execute("select pg_advisory_lock(1), pg_advisory_unlock(1)")

    operations: dict[str, Any] = {"many": many, "book": shop.book, "look": shop.look}
    found = lab.hunt(operations, setup=shop.SETUP, budget=8)
    assert found.decisions["book", "book"].kind == "races"
    assert found.decisions["book", "look"].kind == "safe"
    assert found.seconds < 14


@pytest.mark.thorough
def test_an_interrupt_keeps_what_was_found(lab: Lab) -> None:
    def stop(state: Hunt) -> None:
        if state.races:
            raise KeyboardInterrupt

    found = lab.hunt(shop.OPERATIONS, setup=shop.SETUP, on_progress=stop)
    assert found.interrupted
    assert len(found.races) == 1
    assert {one.why for one in found.undecided} == {"interrupted before it was decided"}


@pytest.mark.thorough
def test_an_interrupt_ends_other_processes_at_once(lab: Lab) -> None:
    """And what they were doing is undecided."""

    def stop(state: Hunt) -> None:
        raise KeyboardInterrupt

    before = set(multiprocessing.active_children())
    found = lab.hunt(shop.OPERATIONS, setup=shop.SETUP, jobs=2, on_progress=stop)
    assert found.interrupted
    assert sum(one.schedules > 0 for one in found.decisions.values()) == 1
    assert set(multiprocessing.active_children()) == before


@pytest.mark.thorough
def test_processes_that_are_ended_from_outside_are_replaced(lab: Lab) -> None:
    before = set(multiprocessing.active_children())
    killed = []

    def end(state: Hunt) -> None:
        for one in set(multiprocessing.active_children()) - before:
            if len(killed) < 2:
                one.kill()
                killed.append(one)

    check(lab.hunt(shop.ALL, setup=shop.SETUP, jobs=2, on_progress=end))
    assert len(killed) == 2
    assert set(multiprocessing.active_children()) == before


@pytest.mark.thorough
def test_triples_are_hunted_where_no_pair_decides(lab: Lab) -> None:
    """Of three that move one row each to the next, two at a time wait, three may wait in a circle."""

    def step(conn: Connection, one: int, other: int) -> None:
        for number in (one, other):
            conn.execute("select from slots where id = %s for update", [number])

    def first(conn: Connection) -> None:
        step(conn, 1, 2)

    def second(conn: Connection) -> None:
        step(conn, 2, 3)

    def third(conn: Connection) -> None:
        step(conn, 3, 1)

    setup = "create table slots (id int primary key); insert into slots values (1), (2), (3)"
    found = lab.hunt({"first": first, "second": second, "third": third}, setup=setup, triples=True, reduction=True)
    assert kinds(found, "races") == set()
    assert found.decisions["first", "second", "third"].kind == "aborts"
    assert {names for names in kinds(found, "aborts") if len(names) == 2} == set()


def test_what_concerns_all_pairs_is_raised(lab: Lab) -> None:
    with pytest.raises(SetupFailed):
        lab.hunt({"book": shop.book}, setup="create tabel slots ()")
    with pytest.raises(BadInput, match=r"a hunt has no option 'setp' \(did you mean 'setup'\?\)"):
        lab.hunt({"book": shop.book}, setp="")
    with pytest.raises(BadInput, match="a hunt takes operations by name"):
        lab.hunt({})
    with pytest.raises(BadInput, match="a hunt has no option 'samples'"):
        lab.hunt({"book": shop.book}, samples=3)


def test_a_function_that_cannot_be_explored_is_undecided_with_the_reason(lab: Lab) -> None:
    """The others are hunted nevertheless."""

    def twice(conn: Connection) -> None:
        conn.execute("select 1")
        psycopg.connect(lab.conninfo()).close()

    found = lab.hunt({"twice": twice, "look": shop.look}, setup=shop.SETUP)
    assert "second connection" in found.operations["twice"].trouble
    assert found.unhunted == ["twice"]
    assert kinds(found, "safe") == {("look", "look")}


def reserve(conn: Connection, redis: redis.Redis) -> None:
    redis.incrby("hunt:booked", 1)
    conn.execute("insert into orders values (1, 'new')")


def test_with_faults_an_operation_is_hunted_alone_too(lab: Lab) -> None:
    """One that is not atomic then is hunted with others without faults: they would show the same again."""
    setup = "create table orders (id int, state text)"
    found = lab.hunt({"reserve": reserve, "create": create}, setup=setup, faults={"crash": 1})
    assert kinds(found, "races") == {("reserve",)}
    race = found.decisions["reserve",]
    assert race.finding
    assert (race.pattern, race.finding.schedule) == ("not-atomic", "reserve reserve reserve:crash")
    assert found.decisions["reserve", "create"].why.endswith("; without faults, as reserve is not atomic alone")
    assert found.decisions["create",].kind == "safe"
    assert "without faults" not in found.decisions["create", "create"].why
    assert "alone" in str(found).splitlines()[2]
