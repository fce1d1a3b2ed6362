"""Isolation levels by name."""

from __future__ import annotations

import psycopg
import pytest

from zephyr_lab.errors import BadInput
from zephyr_lab.schedule.levels import IsolationLevel


@pytest.mark.parametrize("level", list(IsolationLevel))
def test_a_level_is_taken_in_any_case_and_from_psycopg(level: IsolationLevel) -> None:
    """PostgreSQL's names, the shell's hyphens, psycopg's enum."""
    for name in (str(level), level.upper(), level.title(), level.replace(" ", "-"), level.name, f"  {level} "):
        assert IsolationLevel.of(name) is level
    assert IsolationLevel.of(psycopg.IsolationLevel[level.name]) is level
    assert IsolationLevel.of(level) is level


@pytest.mark.parametrize("level", ["snapshot", "", "serialisable", None, 4, "read"])
def test_an_unknown_level_is_an_error_that_lists_the_four(level: object) -> None:
    """So that one need not look them up."""
    with pytest.raises(BadInput) as error:
        IsolationLevel.of(level)
    assert all(repr(str(one)) in str(error.value) for one in IsolationLevel)
