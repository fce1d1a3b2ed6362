"""What travels to another process, and what is said of that which cannot."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest

from zephyr_lab.errors import BadInput, MissingExtra
from zephyr_lab.workers.packed import digest, packed, unpacked


def test_functions_travel_with_what_they_share() -> None:
    """Also lambdas, and what they close over, which is one thing there as well."""
    seen: list[int] = []
    things = unpacked(packed({"add": lambda: seen.append(1), "look": lambda: list(seen)}, "or not"))
    things["add"]()
    assert things["look"]() == [1]
    assert seen == []


def test_what_cannot_travel_is_named_with_the_remedy() -> None:
    lock = threading.Lock()

    def book() -> None:
        with lock:
            pass

    with pytest.raises(
        BadInput, match=r"^session B \(.*book\) cannot be sent to a worker \(TypeError: .*lock.*; or not$"
    ):
        packed({"session A": print, "session B": book}, "or not")
    with pytest.raises(BadInput, match=r"^setup cannot be sent .*lock"):
        packed({"setup": [lock]}, "or not")


def test_without_cloudpickle_it_is_said_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    assert unpacked(packed({"session A": print}, "or not")) == {"session A": print}
    with pytest.raises(BadInput, match=r"or not, or pip install 'zephyr-lab\[cluster\]' for functions"):
        packed({"session A": lambda: None}, "or not")


def test_a_worker_that_cannot_import_it_says_what_to_do() -> None:
    gone = pickle.dumps(digest).replace(b"zephyr_lab.workers.packed", b"zephyr_lab.workers.nothin")
    with pytest.raises(BadInput, match=r"cannot import .*zephyr_lab.workers.nothin.*register_pickle_by_value"):
        unpacked(gone)


def test_a_missing_extra_comes_back_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(MissingExtra("x needs y", "y", "all")))
    assert (str(error), error.name, error.extra) == ("x needs y", "y", "all")


def one(number: int = 1) -> bool:
    return number in {"a", "b", "c"}  # type: ignore[comparison-overlap]


def test_a_digest_changes_with_the_code_and_what_it_is_called_with() -> None:
    def another(number: int = 1) -> Callable[[], bool]:
        return lambda: number in {"a", "b", "d"}  # type: ignore[comparison-overlap]

    made = [
        digest(one),
        digest(another),
        digest(partial(one, 1)),
        digest(partial(one, 2)),
        digest(partial(one, number=1)),
    ]
    assert len(set(made)) == len(made)
    assert made[0].startswith("one ")
    assert digest(len).startswith("len ")


def test_a_digest_is_the_same_in_every_process() -> None:
    """Whatever order the strings of a set are in."""
    program = (
        "from tests.workers.test_packed import one; from zephyr_lab.workers.packed import digest; print(digest(one))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.strip() == digest(one), done.stderr
