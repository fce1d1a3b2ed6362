"""The panel of the first measured notebook: a click runs what is chosen, and an error is shown in it."""

from __future__ import annotations

import pytest

from zephyr_lab import Lab
from zephyr_lab.course.panel import Panel


@pytest.mark.thorough
def test_a_click_runs_what_is_chosen(lab: Lab) -> None:
    """The chart moves, the verdict is there, and the button can be pressed again."""
    panel = Panel(lab)
    panel.strategy.value, panel.rate.value, panel.seconds.value = "one-statement", 50, 1
    panel.isolation.value, panel.pool.value = "serializable", 4
    panel.button.click()
    assert panel.report is not None
    assert (panel.report.incident.isolation, panel.report.incident.pool) == ("serializable", 4)
    assert b"<svg" in bytes(panel.chart.value)
    assert "nothing oversold" in panel.said.value
    assert not panel.button.disabled
    assert repr(panel).startswith("A panel")


def test_an_error_is_shown_in_the_panel(lab: Lab) -> None:
    """And the next click works."""
    panel = Panel(lab)
    panel.strategy.value, panel.rate.value, panel.seconds.value = "one-statement", 50, 1
    panel.pool.options = [500]
    panel.pool.value = 500
    panel.button.click()
    assert "a pool of 500 needs" in panel.said.value
    assert panel.report is None
    assert not panel.button.disabled
