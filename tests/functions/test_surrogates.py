"""Values that say nothing about order: outcomes are equal if ids of the one can be exchanged for ids of the other."""

from __future__ import annotations

import datetime
import itertools
import random
from collections import Counter
from collections.abc import Sequence as Rows
from dataclasses import replace
from typing import Any

import pytest

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.names import without_surrogates
from zephyr_lab.functions.sequences import FIRST, SMALL, Sequence, spread
from zephyr_lab.functions.surrogates import Surrogates
from zephyr_lab.functions.values import told
from zephyr_lab.schedule.transcript import Event, EventKind, Failure, Result, Table, Transcript

ID = ("t", "id")
IDS = Surrogates(sequences=(Sequence("s", FIRST, ID),))
HANDED_OUT = {"s": FIRST + 100}


def ended(
    rows: Rows[tuple[Any, ...]] = (), *said: Any, columns: str = "id up n", sql: Rows[str] = (), raised: str = ""
) -> Transcript:
    """What is left in the table, what a function has asked before, and what it returned or raised."""
    events = [Event("A", f"A{i}", text, EventKind.COMPLETED, 1) for i, text in enumerate(sql)]
    events += [
        Event("A", "r", "return", EventKind.COMPLETED, 1, results=(Result("", ("returned",), ((told(one),),)),))
        for one in said
    ]
    if raised:
        events.append(Event("A", "r", "return", EventKind.FAILED, 1, failure=Failure("P0001", message=raised)))
    final = {"t": Table(tuple(columns.split()), tuple(sorted(rows, key=repr)))}
    return Transcript("c", "l", "A", ("A",), tuple(events), (), final, handed_out=HANDED_OUT)


def outcome(transcript: Transcript, surrogates: Surrogates = IDS) -> tuple[Any, ...]:
    """What is compared: what functions were told by the end, and the rows that are left."""
    named = without_surrogates(transcript, surrogates)
    said = [(event.results, event.failure) for event in named.events if event.sql == "return"]
    return dict(named.final), said


def exchangeable(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    """By definition: some one-to-one exchange of ids makes the same bag of rows of the one as of the other."""
    ids = [sorted({value for row in rows for value in row[:2] if value}) for rows in (one, other)]
    if len(ids[0]) != len(ids[1]):
        return False
    return any(
        Counter((to.get(id), to.get(up), n) for id, up, n in one) == Counter(other)
        for to in (dict(zip(ids[0], names, strict=True)) for names in itertools.permutations(ids[1]))
    )


def random_rows(chance: random.Random) -> list[tuple[Any, ...]]:
    """Up to four rows that refer to one another, to a row that is gone, or to nothing."""
    ids = [FIRST + 1 + i for i in range(chance.randint(1, 4))]
    return [(id, chance.choice([None, *ids, FIRST + 50]), chance.randrange(2)) for id in ids]


@pytest.mark.parametrize("seed", range(4))
def test_outcomes_are_equal_if_and_only_if_their_ids_can_be_exchanged(seed: int) -> None:
    """Compared with trying every exchange; half of the pairs are one outcome with other ids, and perhaps a change."""
    chance = random.Random(seed)
    equal = 0
    for _ in range(75):
        one = random_rows(chance)
        other = random_rows(chance)
        if chance.random() < 0.6:
            ids = sorted({value for row in one for value in row[:2] if value})
            to = dict(zip(ids, chance.sample(range(FIRST + 1, FIRST + 90), len(ids)), strict=True))
            other = [(to[id], to.get(up), n) for id, up, n in one]
            if chance.random() < 0.5:
                place = chance.randrange(len(other))
                other[place] = (other[place][0], chance.choice(other)[0], other[place][2])
        same = exchangeable(one, other)
        equal += same
        assert (outcome(ended(one)) == outcome(ended(other))) is same, (one, other)
    assert 10 < equal < 65


def test_what_a_function_says_of_an_id_says_which_row_it_is() -> None:
    """Exchanged together with the rows, in numbers, texts and errors; another row is another answer."""
    rows = [(FIRST + 1, None, 7), (FIRST + 2, None, 8)]
    other = [(FIRST + 2, None, 7), (FIRST + 9, None, 8)]
    for say in (lambda id: id, lambda id: {"id": id}, lambda id: f"order {id} is saved", lambda id: [str(id).encode()]):
        assert outcome(ended(rows, say(FIRST + 1))) == outcome(ended(other, say(FIRST + 2)))
        assert outcome(ended(rows, say(FIRST + 1))) != outcome(ended(other, say(FIRST + 9)))
    assert outcome(ended(rows, raised=f"no {FIRST + 1}")) == outcome(ended(other, raised=f"no {FIRST + 2}"))
    assert outcome(ended(rows, raised=f"no {FIRST + 1}")) != outcome(ended(other, raised=f"no {FIRST + 9}"))


def test_two_rows_that_are_alike_are_told_apart_by_what_is_said_of_both() -> None:
    """Twice the same one is not one of each."""
    rows = [(FIRST + 1, None, 7), (FIRST + 2, None, 7)]
    same, each = ended(rows, [FIRST + 1, FIRST + 1]), ended(rows, [FIRST + 1, FIRST + 2])
    assert outcome(same) == outcome(ended(rows, [FIRST + 2, FIRST + 2])) != outcome(each)
    assert outcome(each) == outcome(ended(rows, [FIRST + 2, FIRST + 1]))


@pytest.mark.parametrize("number", [FIRST, FIRST + 101, 5, True, -FIRST - 1])
def test_a_number_that_no_sequence_has_handed_out_in_the_run_is_itself(number: int) -> None:
    """As one of the setup's rows, or one that a function has made."""
    assert outcome(ended([(number, None, 1)])) == ({"t": Table(("id", "up", "n"), ((number, None, 1),))}, [])
    (event,) = without_surrogates(ended([], number), IDS).events
    assert event.results[0].rows == ((told(number),),)


def test_a_number_within_a_longer_one_is_no_id() -> None:
    """Nor is the whole part of one with a point."""
    for text in (f"{FIRST + 1}.5", f"1{FIRST + 1}", f"0.{FIRST + 1}"):
        (event,) = without_surrogates(ended([], text), IDS).events
        assert event.results[0].rows == ((told(text),),)


UUIDS = ["0b0e6f5e-8f0a-4c3e-9d3a-0123456789ab", "5d3f1b1e-1a2b-4c3d-8e4f-ba9876543210"]
BY_CHANCE = Surrogates(filled_in={ID: None})


def test_a_uuid_that_its_column_was_filled_with_is_exchanged() -> None:
    """However it is written; one that hashing a name gives (version 5), or that was there before, is itself."""
    rows = [[(one, None, 1)] for one in UUIDS]
    assert outcome(ended(rows[0], UUIDS[0]), BY_CHANCE) == outcome(ended(rows[1], UUIDS[1].upper()), BY_CHANCE)
    assert outcome(ended(rows[0], UUIDS[0]), BY_CHANCE) != outcome(ended(rows[0], UUIDS[1]), BY_CHANCE)
    hashed = [one[:14] + "5" + one[15:] for one in UUIDS]
    assert outcome(ended([(hashed[0], None, 1)]), BY_CHANCE) != outcome(ended([(hashed[1], None, 1)]), BY_CHANCE)
    before = replace(BY_CHANCE, in_setup=frozenset({(ID, UUIDS[0])}))
    assert outcome(ended(rows[0]), before) != outcome(ended(rows[1]), before)


def test_what_two_runs_have_in_common_is_no_chance() -> None:
    """A UUID that is written in the code, say."""
    rows = [[(one, None, 1)] for one in UUIDS]
    learned = BY_CHANCE.learned(ended(rows[0]), ended(rows[0]))
    assert outcome(ended(rows[0]), learned) != outcome(ended(rows[1]), learned)
    assert BY_CHANCE.learned(ended(rows[0]), ended(rows[1])) is BY_CHANCE


def test_what_sessions_make_up_is_exchanged_wherever_it_is() -> None:
    """A lock's owner, say: UUIDs and tokens by where they are sent. What is sent elsewhere is a value."""

    def run(owner: str, n: int = 1, sql: str = "redis: SET lock:{n} {owner} NX") -> Transcript:
        return ended([(owner, None, n)], owner, sql=[sql.format(n=n, owner=owner)])

    token = UUIDS[0].replace("-", "").replace("4", "5")
    learned = IDS.learned(run(UUIDS[0]), run(UUIDS[1]))
    assert outcome(run(UUIDS[0]), learned) == outcome(run(token), learned)
    assert outcome(run(UUIDS[0], n=2), learned) == outcome(run(token, n=2), learned)
    assert outcome(run(UUIDS[0], n=2), learned) != outcome(run(UUIDS[0]), learned)
    elsewhere = "redis: SET tag:{n} {owner}"
    assert outcome(run(UUIDS[0], sql=elsewhere), learned) != outcome(run(UUIDS[1], sql=elsewhere), learned)
    mixed = ended([(UUIDS[0], None, 1)], UUIDS[1], sql=[f"redis: SET lock:1 {one} NX" for one in UUIDS])
    assert outcome(mixed, learned) != outcome(run(UUIDS[0]), learned)
    assert IDS.learned(run(UUIDS[0]), run(UUIDS[0])) is IDS


def clock(at: datetime.datetime, **more: Any) -> Surrogates:
    """As the server says that the column has a clock's time by default, at that time."""
    answers = [
        [Result("", (), (("t", "at", "select distinct at from t", "now()"),)), Result("", (), ())],
        [Result("", (), ()), Result("", (), ((str(at),),))],
    ]
    return Surrogates.ask(lambda sql: answers.pop(0), "here as (select 1)", **more)


def test_a_clocks_time_says_nothing_and_any_other_time_does() -> None:
    """One that the default could have said since the setup; a time of yesterday's is a value."""
    now = datetime.datetime.now(datetime.UTC)
    surrogates = clock(now)

    def at(time: datetime.datetime) -> Any:
        return outcome(ended([(1, str(time))], columns="id at"), surrogates)

    second = datetime.timedelta(seconds=1)
    assert at(now) == at(now + second / 3) == at(now - second)
    assert at(now - 60 * second) != at(now)
    assert at(now + 60 * second) != at(now)
    assert at(now - 60 * second) != at(now - 61 * second)


def test_columns_may_be_ignored_by_name() -> None:
    """By their table's name too."""
    now = datetime.datetime.now(datetime.UTC)
    surrogates = clock(now, ignore=["t.n"])
    assert outcome(ended([(1, 5)], columns="id n"), surrogates)[0] == {"t": Table(("id",), ((1,),))}
    with pytest.raises(BadInput, match=r"named by its table too, as in 'orders.created_at', not 'n'"):
        clock(now, ignore=["n"])


def test_without_anything_to_replace_a_transcript_is_itself() -> None:
    """The same object."""
    one = ended([(1, 2, 3)])
    assert without_surrogates(one, Surrogates()) is one


def test_columns_that_are_filled_in_are_left_out_of_a_result() -> None:
    """Those that refer to them as well; a number that a sequence gives is not."""
    surrogates = Surrogates(
        {ID: None}, frozenset({("t", "n")}), references=((("u", "t_id"), ID), (("u", "x"), ("t", "y")))
    )
    event = Event("A", "a", "", EventKind.COMPLETED, results=(Result("", ("id", "t_id", "x", "n"), ((1, 2, 3, 4),)),))
    assert surrogates.without_values(event).results[0].rows == ((3,),)


# ---------------------------------------------------------------------- where sequences go on


def spread_over(
    found: Rows[tuple[Any, ...]], there: Rows[int] = (), before: Rows[Sequence] = (), texts: Rows[str] = ()
) -> tuple[tuple[Sequence, ...], str]:
    """What a server with such sequences is told, whose tables have numbers of these thousands."""
    asked: list[str] = []

    def execute(sql: str) -> list[Result]:
        asked.append(sql)
        if "pg_sequence" in sql:
            return [Result("", (), tuple(found))]
        if "regexp_matches" in sql:
            return [Result("", (), tuple((str(one),) for one in there))]
        return [Result("", (), (("t",),))] if "relispopulated" in sql else []

    return spread(execute, "here as (select 1)", before, lambda: texts), asked[-1]


def sequence(name: str, last: int = 0, most: int = 2**31 - 1) -> tuple[Any, ...]:
    return (f"'{name}'", name, last, str(most), "t", "id", name)


def test_sequences_go_on_at_numbers_of_their_own() -> None:
    """A million each, with room between, far from all that there is; where they have gone on before, there again."""
    made, said = spread_over([sequence("a"), sequence("b")])
    assert [(one.name, one.first, one.column) for one in made] == [("a", FIRST, ID), ("b", FIRST + 2_000_000, ID)]
    assert said == f"select setval('a', {FIRST}); select setval('b', {FIRST + 2_000_000})"
    assert [one.first for one in spread_over([sequence("a")], before=[Sequence("a", 123_000, ID)])[0]] == [123_000]
    assert spread_over([])[0] == ()


@pytest.mark.parametrize("taken", [FIRST // 1000 - 1, FIRST // 1000, FIRST // 1000 + 999, FIRST // 1000 + 1000])
def test_numbers_that_there_are_already_are_not_handed_out(taken: int) -> None:
    """In tables, or in a text; nor those beside them."""
    assert [one.first for one in spread_over([sequence("a")], [taken])[0]] != [FIRST]
    assert [one.first for one in spread_over([sequence("a")], texts=[f"no {taken}000"])[0]] != [FIRST]
    assert [one.first for one in spread_over([sequence("a")], [taken - 2000, taken + 2000])[0]] == [FIRST]


def test_a_small_or_an_advanced_sequence_goes_on_where_it_can_or_stays() -> None:
    """Of smallint from 20 000 on; beyond what it has handed out; and left as it was where it has no room."""
    assert [one.first for one in spread_over([sequence("a", most=2**15 - 1)])[0]] == [SMALL]
    assert [one.first for one in spread_over([sequence("a", last=FIRST + 1)])[0]] == [FIRST + 1_000_000]
    assert spread_over([sequence("a", most=20_500)])[0] == ()
    assert spread_over([sequence("a", last=200_000)], before=[Sequence("a", 123_000, ID)])[0] == ()
