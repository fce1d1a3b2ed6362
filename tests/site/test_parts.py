"""What pages are made of, without building any: figures, schedules, the lattice, the words that a search finds."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from zephyr_lab import Lab
from zephyr_lab.check.levels import IMPLIES
from zephyr_lab.errors import ScheduleError
from zephyr_lab.views.figure import Picture, blank, style

pytest.importorskip("myst_nb", reason="the site's tools are not installed: pip install -e .[site]")
from zephyr_lab.site.figures import figure, finding
from zephyr_lab.site.figures import style as style_of_figures
from zephyr_lab.site.lattice import lattice
from zephyr_lab.site.schedules import address, all_schedules, interleavings, script
from zephyr_lab.site.search import WithStates

TIMELINE = """lost-update at read committed, schedule A B
  A  select 1  -> 1
ends:   A committed, B committed
final:  slots: booked=95000"""
MATRIX = """anomaly      read committed   serializable
lost-update  occurs: 12 of 14 aborts 40001: 0 of 14, 12 aborted
phantom      occurs: 2 of 10  prevented: 0 of 10

occurs: in some schedule"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            TIMELINE,
            "lost-update at read committed, schedule A B ends: A committed, B committed final: slots: booked=95000",
        ),
        (MATRIX, "Anomalies by isolation level: occurs in 2, aborts in 1, prevented in 1 cells."),
        ("{'refused, %': [72.27722772277228, 19.27]}", "refused, %': [72.3, 19.27]"),
        ("x" * 400, "x" * 296 + " ..."),
        ("", ""),
    ],
)
def test_the_alternative_of_a_figure_says_what_it_shows(text: str, said: str) -> None:
    """Its first line and its findings, not its drawing."""
    assert finding(text) == said


def test_a_figure_has_the_colours_of_the_page_and_nothing_that_meets_another() -> None:
    """Others on dark pages for all of its colours, no id that two figures would share, no style for the whole page."""
    with style():
        drawn, axes = blank(4, 1)
        axes.text(1, 0.5, "a < b", color="#1a7f37")
        picture = Picture.of(drawn, "one & two")
    html = figure(picture.svg, picture.text)
    for colour in re.findall(r"#[0-9a-f]{6}", html):
        assert f'svg [style*="fill: {colour}"]' in style_of_figures(), colour
    assert not re.search(r"<style|<metadata|<\?xml|id=\"(figure|axes|text|patch)_", html)
    assert 'role="img" aria-label="one &amp; two"' in html
    assert "min-width: 307px" in html  # 4 inches at 96 pixels, and a little less
    assert "<pre>one &amp; two</pre>" in html


def test_interleavings_are_all_of_them_once() -> None:
    """As many as there are ways to choose places."""
    assert list(interleavings(Counter("AAB"))) == ["A A B", "A B A", "B A A"]
    found = list(interleavings(Counter("AAABBB")))
    assert len(found) == len(set(found)) == 20


def test_every_schedule_has_a_verdict_or_a_reason_and_an_address(lab: Lab) -> None:
    """The counts are those of the exploration; the address names a schedule with this verdict."""
    case = lab.case("lost-update")
    runs = all_schedules(case)
    for level in ("read committed", "repeatable read", "serializable"):
        found = case.at(level).explore(reduction=False)
        here = [one for one in runs if one["level"] == level]
        assert len(here) == 20
        words = Counter(one.get("verdict", "refused") for one in here)
        assert words["refused"] == 20 - found.schedules
        assert words["occurs"] == found.anomalous
        for one in here:
            assert ("refused" in one) != ("verdict" in one)
    told = address("lost-update", "repeatable read", "aborts 40001", {"lost-update": runs})
    turns = told.removeprefix("schedules.html#lost-update/rr/")
    assert case.at("repeatable read").verdict(" ".join(turns)).kind == "aborts 40001"
    assert address("deadlock", "serializable", "occurs", {"lost-update": runs}) == ""
    text = script("lost-update", runs).partition(" = ")[2].rstrip(";\n")
    told = json.loads(text)
    assert whole(told["parts"], told["runs"]) == runs
    assert len(text) < len(json.dumps(runs)) / 3


def whole(parts: list[Any], runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `widgets.js` makes of a file of schedules."""
    return [
        {key: [parts[at] for at in value] if isinstance(value, list) else value for key, value in run.items()}
        for run in runs
    ]


@pytest.mark.thorough
def test_what_begins_as_a_refused_schedule_is_refused_for_the_same_reason(lab: Lab) -> None:
    """Those that were not run because of their beginnings, run one by one; the case has 186 of 210."""
    case = lab.case("parent-row-locked")
    refused = [one for one in all_schedules(case) if "refused" in one]
    assert len(refused) == 186
    for one in refused:
        with pytest.raises(ScheduleError) as found:
            case.at(one["level"]).run(one["schedule"])
        assert str(found.value).startswith(one["refused"])


def test_the_lattice_has_every_level_above_those_that_it_implies() -> None:
    """And what a level forbids is what rules it out."""
    drawn = lattice()
    row = {level: number for number, names in enumerate(drawn["rows"]) for level in names}
    assert row.keys() == IMPLIES.keys()
    for level, one in drawn["levels"].items():
        assert all(row[other] > row[level] for other in one["implies"])
        assert one["forbids"] == [name for name, told in drawn["anomalies"].items() if level in told["rules_out"]]
    assert "lost-update" in drawn["levels"]["snapshot-isolation"]["forbids"]
    assert "write-skew" not in drawn["levels"]["snapshot-isolation"]["forbids"]
    assert {one["server"] for one in drawn["levels"].values()} == {
        "",
        "READ COMMITTED",
        "REPEATABLE READ",
        "SERIALIZABLE",
    }


def test_states_are_searched_for_and_other_numbers_are_not() -> None:
    """Five digits; words as in English."""
    words = WithStates({})
    assert [word for word in ("40001", "23505", "40p01", "95000", "12", "the", "lock") if words.word_filter(word)] == [
        "40001", "23505", "40p01", "95000", "lock"
    ]  # fmt: skip
