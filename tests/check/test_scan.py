"""Blocks that are scanned have the columns, or the error, that reading object by object gives."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import numpy as np
import pytest

from zephyr_lab.check import columns as reading
from zephyr_lab.check.columns import Columns
from zephyr_lab.check.history import History
from zephyr_lab.check.read import _add_lines
from zephyr_lab.check.records import NeedsNames, NeedsRecords
from zephyr_lab.check.scan import scan
from zephyr_lab.check.skeletons import Skeletons, Strange
from zephyr_lab.errors import BadInput

NUMBERS = [0, 1, 2, 3, 9, 10, 99, 100, 101, 4711, 12345678, 123456789, 1234567890123456, 10**17, 10**18 - 1, -1, -70]
LONG = b"1234567890123456789"
NAMES = ["x", "y", "k1", "k22", "account_7", "null", "ell1"]
PIECES = [*(bytes([one]) for one in b'01-, []{}:rtw.\n\\"'), b"null", LONG]


def one(chance: random.Random, lists: bool, names: bool) -> list[Any]:
    key = chance.choice(NAMES if names else NUMBERS)
    if chance.random() < 0.5:
        return ["append" if lists else "w", key, chance.choice(NUMBERS)]
    read = [chance.choice(NUMBERS) for _ in range(chance.randrange(4))] if lists else chance.choice(NUMBERS)
    return ["r", key, read if chance.random() < 0.9 else None]


def rows(chance: random.Random) -> list[dict[str, Any]]:
    lists, names, named_sessions, timed = (chance.random() < 0.5 for _ in range(4))
    made = []
    for _ in range(chance.randrange(1, 5)):
        session = chance.choice(["s", "s1", "s12", "a"] if named_sessions else [0, 1, 12, -3])
        ops = [one(chance, lists, names) for _ in range(chance.randrange(4))]
        row = {"session": session, "type": chance.choice(["ok", "fail", "info"]), "ops": ops}
        if timed:
            row |= {time: chance.choice([None, *NUMBERS[:-2]]) for time in ("t0", "t1")}
        made.append(row)
    return made


def block(seed: int) -> bytes:
    """Mostly well formed; else with some bytes left out, inserted or doubled."""
    chance = random.Random(f"block {seed}")
    separators = chance.choice([(", ", ": "), (",", ":")])
    text = b"".join(json.dumps(row, separators=separators).encode() + b"\n" for row in rows(chance))
    for _ in range(chance.choice([0, 0, 1, 1, 2, 4])):
        at = chance.randrange(len(text))
        cut = at + chance.choice([0, 0, 1, 1, 2, 5])
        text = text[:at] + chance.choice([b"", *PIECES, text[at : at + 3]]) + text[cut:]
    return text


def added(text: bytes, scanned: bool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The history, as its fields, or why it is none."""
    columns = Columns("history", None)
    if not scanned:
        monkeypatch.setattr(columns, "add_block", lambda first, block: False)
    try:
        _add_lines(1, text, columns)
        return told(columns.history())
    except (BadInput, NeedsNames, NeedsRecords) as error:
        return f"{type(error).__name__} {error}"


def told(history: History) -> list[Any]:
    fields = (getattr(history, field.name) for field in dataclasses.fields(history))
    return [(one.dtype, one.tolist()) if isinstance(one, np.ndarray) else one for one in fields]


def compare(seeds: range, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many blocks were scanned, and how many refused."""
    counts = [0, 0]
    for seed in seeds:
        text = block(seed)
        assert added(text, True, monkeypatch) == added(text, False, monkeypatch), (seed, text)
        try:
            scan(text if text.endswith(b"\n") else text + b"\n", Skeletons())
            counts[0] += 1
        except Strange:
            counts[1] += 1
    return counts[0], counts[1]


def test_a_block_is_scanned_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of these is scanned, the others are strange."""
    scanned, strange = compare(range(2_000), monkeypatch)
    assert scanned > 500
    assert strange > 500


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(4))
def test_a_million_blocks_are_scanned_as_they_are_read(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was cut, inserted and doubled."""
    compare(range(10**7 + part * 250_000, 10**7 + (part + 1) * 250_000), monkeypatch)


@pytest.mark.parametrize(
    "line",
    [
        '{"session":0,"type":"ok","ops":[["r",null,5]]}',
        '{"session":0,"type":"ok","ops":[["r",5,null1]]}',
        '{"session":0,"type":5,"ok","ops":[]}',
        '{"session":0,"type":"ok","ops":[["append","x",01]]}',
        '{"session":0,"type":"ok","ops":[["append",5,"a"]]}',
        '{"session":0,"type":"ok","ops":[["r",1,[1 2]]]}',
        '{"session":0,"type":"ok","ops":[["r",1,[1,,2]]]}',
        '{"session":0,"type":"ok","ops":[["r",1,2,[]]]}',
        '{"session":0,"type":"ok","ops":[["r5",1,[2]]]}',
        '{"session":0,"type":"ok","ops":[],"t1":1,"t0":2}',
        '{"session":0,"type":"ok","ops":[],7,"t0":1,"t1":2}',
        '{"session":0,"type":"ok","ops":[0]}',
        '{"session":0,"type":"ok","ops":[0,["append",1,2]]}',
        '{"session":0,"t,ype":"ok","ops":[]}',
        '{"session":0,"type":"ok","ops":[],"t,0":1,"t1":2}',
        '{"session1":"type":"ok","ops":[]}',
        '{"session":0,"type":"ok","ops":[["append",1,1.5]]}',
        '{"session":0,"type":"ok","ops":[["append",1,-0]]}',
        '{"session":0,"type":"ok","ops":[["r","l,"null]]}',
        '{"session":0,"type":"ok","ops":[["append",1,007]]}',
    ],
)
def test_what_is_not_of_the_usual_form_is_not_scanned(line: str) -> None:
    """Each is refused by one of the four checks alone."""
    with pytest.raises(Strange):
        scan(line.encode() + b"\n", Skeletons())


@pytest.mark.parametrize("largest", [1, 127, 128, 2**15 - 1, 2**15, 2**31 - 1, 2**31, 10**17])
def test_elements_are_held_in_as_few_bytes_as_hold_them(largest: int) -> None:
    """And none is changed by it, nor by the blocks before it."""
    columns = reading.Columns("history", None)
    lists = [[1, 2], [-largest - 1, largest], [3]]
    for i, listed in enumerate(lists):
        columns.add_block(i, json.dumps({"session": 0, "type": "ok", "ops": [["r", "x", listed]]}).encode())
    history = columns.history()
    assert [history.list_of(i) for i in range(3)] == lists
    assert history.elements.itemsize == next(size for size in (1, 2, 4, 8) if largest < 1 << (8 * size - 1))


def test_a_history_of_many_forms_is_read_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The skeletons that are kept are forgotten where they are too many."""
    monkeypatch.setattr("zephyr_lab.check.skeletons._MOST_SKELETONS", 3)
    columns = reading.Columns("history", None)
    for count in range(10):
        ops = [["append", "x", 10 * count + i] for i in range(count)]
        text = json.dumps({"session": 0, "type": "ok", "ops": ops}) + "\n"
        assert columns.add_block(count, text.encode()) is (count > 0)
        assert len(columns._skeletons) <= 4
