"""What a worker keeps: opened once, closed when something else is asked for, and never while somebody works on it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field

import pytest

from zephyr_lab.workers.kept import Kept

LOG: list[str] = []


@dataclass(frozen=True)
class Opens:
    name: str
    fails: bool = field(default=False, compare=False)

    def __call__(self, stack: contextlib.ExitStack) -> str:
        LOG.append(f"opens {self.name}")
        stack.callback(LOG.append, f"closes {self.name}")
        if self.fails:
            raise ValueError(self.name)
        return self.name


@pytest.fixture(autouse=True)
def log() -> None:
    LOG.clear()


def made(stack: contextlib.ExitStack) -> list[str]:
    stack.callback(LOG.append, "closes what was made")
    return []


def test_it_is_opened_once_and_what_is_made_of_it_is_kept() -> None:
    kept = Kept()
    for _ in range(2):
        with kept.opened(Opens("a")) as opened:
            kept.made("x", made).append(opened)
    with kept.opened(Opens("a")):
        assert kept.made("x", made) == ["a", "a"]
        assert kept.made("y", made) == []
    assert LOG == ["opens a", "closes what was made"]
    with kept.opened(Opens("b")):
        pass
    assert LOG[2:] == ["closes what was made", "closes a", "opens b"]
    kept.close()
    kept.close()
    assert LOG[5:] == ["closes b"]


def test_what_could_not_be_opened_is_closed_and_tried_again() -> None:
    kept = Kept()
    with pytest.raises(ValueError, match="a"), kept.opened(Opens("a", fails=True)):
        pass
    assert LOG == ["opens a", "closes a"]
    with kept.opened(Opens("a")) as opened:
        assert opened == "a"


def test_closing_waits_for_who_works_on_it() -> None:
    """As when a worker is closed in the middle of a piece."""
    kept = Kept()
    with kept.opened(Opens("a")):
        closing = threading.Thread(target=kept.close)
        closing.start()
        closing.join(0.05)
        assert closing.is_alive()
        assert LOG == ["opens a"]
    closing.join(10)
    assert LOG == ["opens a", "closes a"]
