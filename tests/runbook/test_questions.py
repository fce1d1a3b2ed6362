"""The runbook's files as they are read, and answers as they are printed; no server."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from zephyr_lab.errors import BadInput
from zephyr_lab.runbook import Answer, Question, WaitTree, questions, report
from zephyr_lab.runbook.questions import ORDER
from zephyr_lab.shipped import shipped

PARAMETERS = {"table", "role", "path", "months", "older_than"}


def test_every_file_is_a_question_with_a_name_and_what_it_answers() -> None:
    """And each question is listed once, in the order of asking."""
    assert sorted(ORDER) == sorted(path.stem for path in shipped("sql", "runbook").glob("*.sql"))
    for one in questions():
        assert one.title.endswith((".", "?")), one.name
        assert one.parameters <= PARAMETERS, one.name
    assert [line.split()[0] for line in report.listing().splitlines()] == list(ORDER)


def test_a_file_is_read_and_its_variables_become_placeholders() -> None:
    """psql's `:'table'`, but neither a cast nor a percent sign."""
    one = Question.parse("-- name\n-- Title.\n-- More\n-- of it.\nselect 'a'::text like '%' , :'table'::name;\n", "x")
    assert (one.name, one.title, one.notes) == ("name", "Title.", "More of it.")
    assert one.placeholders == "select 'a'::text like '%%' , %(table)s::name"
    assert one.parameters == {"table"}


@pytest.mark.parametrize("text", ["", "select 1", "-- name\nselect 1", "-- name\n-- title\n", "--\n-- title\nselect 1"])
def test_a_file_without_name_title_or_sql_is_refused(text: str) -> None:
    """With the form that is wanted."""
    with pytest.raises(BadInput, match=r"x\.sql: first two comment lines"):
        Question.parse(text, "x.sql")


def answer(*rows: tuple[int, str, list[int], int | None, bool]) -> pd.DataFrame:
    """What who-blocks-whom would say: pid, session, waits_for, depth, deadlock."""
    frame = pd.DataFrame(rows, columns=["pid", "session", "waits_for", "depth", "deadlock"])
    for name, value in {"lock": "tuple", "mode": "ExclusiveLock", "relation": "slots", "state": "active"}.items():
        frame[name] = value
    frame["waiting"], frame["query"] = pd.Timedelta("1.5s"), "update  slots\nset booked = 1"
    return frame.convert_dtypes()


def as_asked(frame: pd.DataFrame) -> Answer:
    """The same as it comes from the server."""
    plain = frame.astype(object).where(frame.notna(), None)
    rows = [
        tuple(v.to_pytimedelta() if isinstance(v, pd.Timedelta) else v for v in row) for row in plain.values.tolist()
    ]
    return Answer(tuple(frame.columns), tuple(rows))


def test_a_tree_is_text_that_names_each_session_once() -> None:
    """Sessions of one name have their pid as well, one without a name its pid only."""
    tree = WaitTree.of(answer((1, "api", [], 0, False), (2, "api", [1], 1, False), (3, "", [2, 1], 2, False)))
    assert str(tree) == (
        "api 1        active: update slots set booked = 1\n"
        "└─ api 2     waits for api 1 (tuple, slots): update slots set booked = 1\n"
        "   └─ pid 3  waits for api 2, api 1 (tuple, slots): update slots set booked = 1"
    )
    assert tree.roots == ("api 1",)


def test_a_deep_and_long_queue_is_drawn() -> None:
    """Deeper than a figure is wide: from some level on the boxes stay where they are."""
    rows = [(n, f"s{n}", [n - 1] if n else [], n, False) for n in range(16)]
    tree = WaitTree.of(answer(*rows))
    assert [one.level for one in tree.sessions] == list(range(16))
    assert tree._repr_mimebundle_()["image/svg+xml"].count(">waits for s") == 15


def test_answers_are_printed_as_text_and_as_json() -> None:
    """Nothing cut but queries; empty cells empty; an error in its place; lengths of time in seconds."""
    found = {
        "who-blocks-whom": as_asked(answer((1, "A", [], 0, False), (2, "B", [1], None, True))),
        "locks": BadInput("no table"),
    }
    text = report.to_text(found)
    assert text.startswith("== who-blocks-whom: Who waits, for whom, and on what")
    assert "└─ B  waits for A (tuple, slots), a deadlock" in text
    assert text.endswith("no answer: no table")
    told = json.loads(report.to_json(found))
    assert told["locks"]["error"] == "no table"
    first, second = told["who-blocks-whom"]["rows"]
    assert (first["waits_for"], first["depth"], first["waiting"]) == ([], 0, 1.5)
    assert (second["waits_for"], second["depth"], second["deadlock"]) == ([1], None, True)
    assert report.to_text({"counters": Answer((), ())}).endswith("\n(no rows)")
