"""Every case of the catalogue, in all its orders, at every level."""

from __future__ import annotations

import pytest

from zephyr_lab import IsolationLevel, Lab
from zephyr_lab.anomalies import CATALOGUE, Anomaly
from zephyr_lab.anomalies.catalogue import GROUPS
from zephyr_lab.explore.verdict import VerdictKind
from zephyr_lab.lab.case import cases, load_case

MOST_SCHEDULES = 300

each = pytest.mark.parametrize("one", CATALOGUE, ids=lambda one: one.name)


@pytest.mark.thorough_but("lost-update", "foreign-key-deadlock", "mixed-levels")
@each
def test_all_orders_give_what_the_catalogue_expects(lab: Lab, one: Anomaly) -> None:
    """Each of them can be judged; and those that are run with reduction stand for all, and lead to the same."""
    for level in IsolationLevel:
        found = lab.case(one.case, level).explore(reduction=False, shrink=False)
        assert (found.complete, found.run.undecided) == (True, 0), found
        assert found.kind is one.expected[level], found
        assert found.schedules <= MOST_SCHEDULES
        reduced = lab.case(one.case, level).explore(shrink=False)
        assert set(reduced.outcomes) == set(found.outcomes)
        assert reduced.stands_for == found.run


@each
def test_the_first_schedule_shows_it(lab: Lab, one: Anomaly) -> None:
    """At READ COMMITTED it is what all orders together are; above, it may be one of several things."""
    case = lab.case(one.case, IsolationLevel.READ_COMMITTED)
    assert case.verdict().kind is one.expected[IsolationLevel.READ_COMMITTED]
    for level in (IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE):
        shown = case.at(level).verdict().kind
        assert (shown is VerdictKind.PREVENTED) == (one.expected[level] is VerdictKind.PREVENTED), level


def test_every_case_has_its_entry() -> None:
    """And every entry its case, whose sessions take few steps."""
    assert sorted(one.case for one in CATALOGUE) == cases()
    for one in CATALOGUE:
        assert one.name == one.case
        assert max(len(session.steps) for session in load_case(one.case).sessions) <= 5


def test_groups_are_in_order_and_only_traps_have_no_phenomenon() -> None:
    """The literature's anomalies come first."""
    assert list(dict.fromkeys(one.group for one in CATALOGUE)) == list(GROUPS)
    assert [one for one in CATALOGUE if bool(one.phenomenon) != (one.group in GROUPS[:4])] == []


def test_the_expectations_are_hermitages() -> None:
    """READ COMMITTED keeps off the dirty ones, REPEATABLE READ all but G2-item and G2, SERIALIZABLE all."""
    kept_off = {
        IsolationLevel.READ_UNCOMMITTED: 1,
        IsolationLevel.READ_COMMITTED: 1,
        IsolationLevel.REPEATABLE_READ: 3,
        IsolationLevel.SERIALIZABLE: 4,
    }
    for one in CATALOGUE:
        for level, groups in kept_off.items():
            if one.phenomenon:
                occurs = one.expected[level] is VerdictKind.OCCURS
                assert occurs == (one.group not in GROUPS[:groups]), (one.name, level)


@pytest.mark.thorough_but("read committed", "serializable")
@pytest.mark.parametrize("level", IsolationLevel)
def test_the_report_needs_six_refusals(lab: Lab, level: IsolationLevel) -> None:
    """PostgreSQL's receipt-report.spec says of the same transactions: six of 210 orders must fail, and only those."""
    found = lab.case("read-only-anomaly", level).explore(reduction=False)
    assert found.schedules == 210
    match level:
        case IsolationLevel.REPEATABLE_READ:
            assert (found.anomalous, found.aborted) == (6, 0)
        case IsolationLevel.SERIALIZABLE:
            assert (found.anomalous, found.aborted, found.false_positives) == (0, 6, 0)
        case _:
            assert (found.anomalous, found.aborted) == (4, 0)
