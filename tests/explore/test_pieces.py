"""A search in pieces, cut anywhere and put together in any order, is the search; without a server."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.explore.test_explorer import CountingExecutor
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Enough, Explorer
from zephyr_lab.explore.pieces import FEW_FOUND, Pieces, Slice
from zephyr_lab.explore.selection import Part, Selection, divided
from zephyr_lab.schedule.model import Session, Spec, Step

SPEC = Spec("counting", tuple(Session(name, tuple(Step(f"{name}{n}", name, "") for n in range(3))) for name in "AB"))
WAYS = [Selection(), Selection(reduction=False), Selection(samples=40, seed=3), Selection(True, 40, 3, 2)]


def few(number: int) -> Callable[[Exploration], None]:
    def stop(found: Exploration) -> None:
        if found.schedules == number:
            raise Enough

    return stop


def sliced(selection: Selection, part: Part, number: int) -> Slice:
    """By another executor every time, as in another process."""
    search = selection.scheduler(SPEC, part)
    return Slice(Explorer(CountingExecutor("AB")).explore(search, few(number)), search.rest())


def merged(pieces: Pieces) -> dict[str, Any]:
    return {**pieces.merged(Exploration("counting", "read committed")).to_dict(), "seconds": 0}


@settings(max_examples=60, deadline=None)
@given(selection=st.sampled_from(WAYS), seed=st.integers(0, 1 << 32))
def test_the_result_does_not_depend_on_cuts_or_order(selection: Selection, seed: int) -> None:
    """Counts, outcomes with their examples, and the order in which these were found."""
    chance = random.Random(seed)
    whole = Explorer(CountingExecutor("AB")).explore(selection.scheduler(SPEC))
    pieces, at_work = Pieces.of(selection.all()), []
    while not pieces.is_done:
        pieces.divide(chance.randint(0, 6))
        while pieces.waiting and (not at_work or chance.random() < 0.5):
            at_work.append(pieces.begin())
        if chance.randint(0, 9) == 0:  # whoever was at them is gone
            pieces.give_back()
            at_work.clear()
            continue
        key, part = at_work.pop(chance.randrange(len(at_work)))
        pieces.end(key, sliced(selection, part, chance.randint(1, 4)))
    expected = {**whole.to_dict(), "seconds": 0, "complete": False}
    assert merged(pieces) == expected
    found = pieces.merged(Exploration("counting", "read committed"))
    assert list(found.outcomes) == list(whole.outcomes)
    assert found.easiest == whole.easiest


def test_results_are_added_up_while_the_search_goes_on() -> None:
    """They stay few, whatever is still open between them."""
    pieces = Pieces.of(range(400))
    expected = merged(_run(copy.deepcopy(pieces), Selection(samples=400)))
    pieces.divide(200)
    first = pieces.begin()
    while pieces.waiting:
        key, part = pieces.begin()
        pieces.end(key, sliced(Selection(samples=400), part, 200))
        assert len(pieces.found) <= FEW_FOUND * (1 + len(pieces.waiting) + len(pieces.begun))
    assert len(pieces.found) <= 2 * FEW_FOUND
    pieces.end(first[0], sliced(Selection(samples=400), first[1], 200))
    assert merged(pieces) == expected


def _run(pieces: Pieces, selection: Selection) -> Pieces:
    while pieces.waiting:
        key, part = pieces.begin()
        pieces.end(key, sliced(selection, part, 10_000))
    return pieces


@pytest.mark.parametrize(("part", "halves"), [(range(5), (range(2), range(2, 5))), (range(4, 5), None)])
def test_samples_are_divided_by_their_numbers(part: range, halves: tuple[range, range] | None) -> None:
    assert divided(part) == halves
