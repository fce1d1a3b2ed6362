"""The stepper's data: what it says that sessions see is what they read on the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import slots_spec
from zephyr_lab import IsolationLevel, Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.views.stepper import WIDGET_VIEW, stepper
from zephyr_lab.views.story import story

LEVELS = ["read committed", "repeatable read", "serializable"]
READER = """
session A step r1 { begin; } step r2 { select booked from slots where slot = 'a'; }
          step r3 { select booked from slots where slot = 'a'; } step r4 { commit; }
session B step w1 { update slots set booked = booked + 1 where slot = 'a'; }
          step w2 { update slots set booked = booked + 1 where slot = 'a'; }
session C step l1 { begin; lock table slots; update slots set booked = booked + 10 where slot = 'a'; }
          step l2 { commit; }
permutation %s
"""


def run(lab: Lab, sessions: str, level: str) -> dict[str, Any]:
    return lab.case(slots_spec(sessions), level).stepper(levels=[level]).runs[0]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "order", ["r1 w1 r2 w2 r3 r4", "r1 r2 w1 w2 r3", "r1 l1 r2 l2 w1 r3", "w1 r1 l1 l2 r2 r3", "r2 w1 r3"]
)
def test_the_version_that_a_session_is_said_to_see_is_the_one_that_it_read(lab: Lab, order: str, level: str) -> None:
    """At every level, also behind a table lock, where a statement's snapshot is later than its sending."""
    told = run(lab, READER % order, level)
    checked = 0
    for event, frame in zip(told["events"], told["frames"][1:], strict=True):
        if event["lane"] == 0 and (read := event["text"].removeprefix("resumes: ")).startswith("-> "):
            version = told["versions"][frame["states"][0]["sees"]]
            (booked,) = (row[1] for row in version["tables"][0]["rows"] if row[0] == "a")
            assert read == f"-> {booked}", (event, frame)
            checked += 1
    assert checked == 2


def test_waiting_refusal_and_commits_are_told_frame_by_frame(lab: Lab) -> None:
    """The lost update at REPEATABLE READ: B waits while A commits, is refused, and its COMMIT is no commit."""
    told = lab.case("lost-update", "repeatable read").stepper(levels=["repeatable read"]).runs[0]
    states = [[one["state"] for one in frame["states"]] for frame in told["frames"]]
    assert states[0] == ["no transaction", "no transaction"]
    assert states[4] == ["in a transaction", "waits for A (transactionid, slots)"]
    assert states[5] == ["committed", "waits for A (transactionid, slots)"]
    assert states[6] == states[7] == ["committed", "failed: 40001"]
    assert [(one["by"], one["at"]) for one in told["versions"]] == [("as set up", 0), ("commit of A", 5)]
    assert told["frames"][5]["say"] == "5 of 7. A: commit: ok. Version 2 is committed."
    assert [event["tone"] for event in told["events"]][3:] == ["wait", "good", "bad", "bad"]
    assert told["events"][3]["until"] == 5


def test_a_transaction_that_fails_behind_a_savepoint_goes_on(lab: Lab) -> None:
    """And who waits for a safe snapshot has none yet."""
    told = lab.case("savepoint-retry", "repeatable read").stepper(levels=["repeatable read"]).runs[0]
    assert [frame["states"][0]["state"] for frame in told["frames"][3:6]] == [
        "failed: 40001",
        "in a transaction",
        "failed: 40001",
    ]
    told = lab.case("deferrable-read-only", "serializable").stepper(levels=["serializable"]).runs[0]
    assert [frame["states"][2]["sees"] for frame in told["frames"][4:7]] == [None, None, 2]


def test_levels_and_schedules_are_the_readers_choice_and_refusals_are_told(lab: Lab) -> None:
    """A schedule that sends a step to a session that waits is no error of the stepper's."""
    made = lab.case("lost-update").stepper(schedules=["A B A B A B", "A B A B B A"])
    assert {one["level"] for one in made.runs} == set(LEVELS)
    refused = [one for one in made.runs if "refused" in one]
    assert len(refused) == 3
    assert refused[0]["refused"] == "step B_commit cannot be sent: B waits for A (transactionid, slots): step A first."
    with pytest.raises(BadInput, match="step A first"):
        lab.case("lost-update").stepper(schedules=["A B A B B A"])
    with pytest.raises(ValueError, match="needs a transcript"):
        stepper([])


def test_the_fallbacks_say_the_same_and_nothing_differs_between_two_runs(lab: Lab) -> None:
    """Text and a table beside the widget; SQL is escaped; JSON holds it all."""
    made = [lab.case("lost-update").stepper() for _ in range(2)]
    bundles = [one._repr_mimebundle_() for one in made]
    view = [bundle.pop(WIDGET_VIEW) for bundle in bundles]
    assert view[0]["model_id"] != view[1]["model_id"]
    assert bundles[0] == bundles[1]
    assert "waits for A (transactionid, slots)" in bundles[0]["text/plain"]
    assert bundles[0]["text/html"].count("<table") == 3
    assert json.loads(json.dumps(made[0].runs)) == made[0].runs
    html = (
        lab.case(slots_spec("session A step a { select '<b>' as b; }")).stepper(levels=LEVELS[:1])._repr_mimebundle_()
    )
    assert "&lt;b&gt;" in html["text/html"]


def test_of_a_run_that_was_not_observed_no_version_is_claimed(lab: Lab) -> None:
    """Its stepper tells when snapshots were taken, and the rows at the end."""
    told = story(lab.case("non-repeatable-read", IsolationLevel.REPEATABLE_READ).run().to_dict())
    assert [one["by"] for one in told["versions"]] == ["at the end"]
    assert all(one["sees"] is None for frame in told["frames"] for one in frame["states"])
    assert told["frames"][4]["states"][0]["note"] == "its snapshot, taken at 1"


def test_observing_a_run_changes_nothing_of_its_transcript(lab: Lab) -> None:
    """In every case of the catalogue, at the level where it is most likely."""
    runner = lab.engine.runner
    for name in lab.cases():
        case = lab.case(name, "serializable")
        plain, observed = (
            runner.run(case.spec, case.schedule(), case.isolation, observed=yes) for yes in (False, True)
        )
        assert str(observed) == str(plain)
        assert plain.final == observed.final == (observed.glances[-1].tables or observed.final)
    assert WIDGET_VIEW in observed._repr_mimebundle_()
    assert WIDGET_VIEW not in plain._repr_mimebundle_()


def test_a_commit_that_writes_the_same_values_is_a_version_too(lab: Lab) -> None:
    """Of a lost update both writes are to be seen; who only read, or changed no row, makes none."""
    told = run(
        lab,
        """
        session A step a1 { begin; update slots set booked = 5 where slot = 'a'; } step a2 { commit; }
        session B step b1 { begin; update slots set booked = 5 where slot = 'a'; } step b2 { commit; }
        session C step c1 { begin; update slots set booked = 9 where slot = 'z'; } step c2 { commit; }
        permutation a1 b1 a2 b2 c1 c2
    """,
        "read committed",
    )
    assert [one["by"] for one in told["versions"]] == ["as set up", "commit of A", "commit of B, the same values"]
