"""Event loops that are used again."""

from __future__ import annotations

import asyncio
import warnings

import pytest

from zephyr_lab.functions.loops import Loops


def test_a_loop_is_used_again_and_ends_without_a_word() -> None:
    """Also in a thread that has no loop of its own, where a gathering of nothing would look for one."""
    loops, seen = Loops(), []

    async def note() -> None:
        seen.append(asyncio.get_running_loop())

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loops.run(note())
        loops.run(note())
        loops.close()
    assert seen[0] is seen[1]
    assert seen[0].is_closed()
    assert not [str(one.message) for one in told]


def test_a_loop_that_is_left_with_a_task_is_ended_with_it() -> None:
    """And the task with it."""
    loops, left = Loops(), []

    async def leave() -> None:
        left.append(asyncio.ensure_future(asyncio.Event().wait()))

    loops.run(leave())
    assert left[0].cancelled()
    with pytest.raises(asyncio.CancelledError):
        left[0].result()
