"""A cycle of thousands is cut short where a chord allows it, and what is left out is said."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from zephyr_lab import check
from zephyr_lab.check.report import GAP, LONGEST, Report

SIZE = 1_200


def ring(chord: tuple[int, int] | None = None, kind: str = "wr") -> Report:
    """Transactions each of which did not see the next one's append; with a chord from one to another."""
    rows: list[dict[str, Any]] = []
    for i in range(SIZE):
        ops: list[Any] = [["append", f"k{i}", 1], ["r", f"k{(i + 1) % SIZE}", []]]
        rows.append({"session": i % 7, "type": "ok", "ops": ops})
    if chord:
        first, second = (["append", "c", 1], ["r", "c", [1]]) if kind == "wr" else (["r", "c", []], ["append", "c", 1])
        rows[chord[0]]["ops"].append(first)
        rows[chord[1]]["ops"].append(second)
    return check.check(check.from_transactions(rows), "serializable")


@pytest.mark.parametrize(("chord", "length"), [((900, 800), 101), ((10, 1190), 21), ((700, 300), 401), ((1, 0), 2)])
@pytest.mark.parametrize("kind", ["wr", "rw"])
def test_a_cycle_of_thousands_is_cut_short_by_a_chord(chord: tuple[int, int], length: int, kind: str) -> None:
    """Back along the path, or forward over most of it; the class stays, and each step leads to the next."""
    report = ring(chord, kind)
    names = {"G2-item"} if length > 2 or kind == "rw" else {"G2-item", "G-single-item"}
    assert set(report.cycles) == names
    lengths = {name: len(cycles[0].steps) for name, cycles in report.cycles.items()}
    assert min(lengths.values()) == length
    for cycles in report.cycles.values():
        steps = cycles[0].steps
        assert all(one.target == other.source for one, other in zip(steps, [*steps[1:], steps[0]], strict=True))


def test_several_chords_leave_the_shortest() -> None:
    """Found among twenty of random length."""
    chance = random.Random(3)
    rows = [
        {"session": i, "type": "ok", "ops": [["append", f"k{i}", 1], ["r", f"k{(i + 1) % SIZE}", []]]}
        for i in range(SIZE)
    ]
    shortest = SIZE
    for number in range(20):
        back, length = chance.randrange(SIZE), chance.randrange(20, 600)
        front = (back + length - 1) % SIZE
        rows[front]["ops"].append(["append", f"c{number}", 1])
        rows[back]["ops"].append(["r", f"c{number}", [1]])
        shortest = min(shortest, length)
    report = check.check(check.from_transactions(rows), "serializable")
    assert min(len(cycle.steps) for cycle in report.cycles["G2-item"]) == shortest


def test_what_is_left_out_is_said_in_text_picture_and_page() -> None:
    """Without a chord: the ends of the cycle, and how many are between."""
    report = ring()
    said = str(report)
    assert f"... and {SIZE - 8:,} transactions more" in said
    assert f"... {SIZE - LONGEST:,} such steps more, each as these ..." in said
    drawn = report.figure().svg
    assert f"{SIZE - 11:,} transactions more, each before the next" in drawn
    assert drawn.count(">T") >= 2 * 11
    held = re.search(r'<script id="runs" type="application/json">(.*?)</script>', report.html(), re.DOTALL)
    assert held
    (anomaly,) = json.loads(held[1])
    told = {one["name"] for one in anomaly["transactions"]}
    assert {GAP, *(edge["from"] for edge in anomaly["edges"])} == told
    assert len(told) == 60
    assert all(one["to"] == other["from"] for one, other in zip(anomaly["edges"], anomaly["edges"][1:], strict=False))


def test_a_page_holds_what_a_key_says_as_text() -> None:
    """A key that would end the script ends nothing, and the page asks nothing of anybody."""
    rows = [
        {"session": 0, "type": "ok", "ops": [["append", "</script><b>", 1], ["r", "y", []]]},
        {"session": "<i>", "type": "ok", "ops": [["append", "y", 1], ["r", "</script><b>", []]]},
    ]
    page = check.check(check.from_transactions(rows), "serializable").html()
    assert page.count("</script>") == 2
    assert "<b>" not in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
