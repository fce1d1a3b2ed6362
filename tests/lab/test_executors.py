"""Explorations by workers: the result is that of one process, whoever the workers are, and whoever of them ends."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import slots_spec
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.explore import parallel
from zephyr_lab.explore.checkpoint import header
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.scheduler import Nondeterminism

Connection = psycopg.Connection[Any]

SETUP = "create table slots (id int primary key, booked int not null); insert into slots values (1, 0)"
HERE = {"more": 0}


def told(found: Exploration) -> dict[str, Any]:
    return {**found.to_dict(), "seconds": 0}


def book(conn: Connection) -> int:
    row = conn.execute("select booked from slots where id = 1").fetchone()
    assert row
    conn.execute("update slots set booked = %s where id = 1", [row[0] + 1 + HERE["more"]])
    return int(row[0])


def after(schedules: int, then: Callable[[], object]) -> Callable[[Exploration], None]:
    """Once, when so many have been run."""
    done: list[object] = []

    def look(found: Exploration) -> None:
        if found.schedules >= schedules and not done:
            done.append(then())

    return look


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def three() -> list[Callable[..., Any]]:
    """Of this module, a closure, and a lambda."""
    times = 1

    def twice(conn: Connection) -> int:
        return times * book(conn)

    return [book, twice, lambda conn: book(conn)]


@pytest.mark.thorough
def test_functions_travel_with_their_setups_and_invariants(lab: Lab, three: list[Callable[..., Any]]) -> None:
    """To threads, and to processes; beyond what is run at once in this one."""
    how: dict[str, Any] = {
        "setup": [SETUP, lambda conn: conn.execute("update slots set booked = 5")],
        "invariant": lambda transcript: transcript.final["slots"].rows[0][-1] == 8,
        "shrink": False,
    }
    for more in ({}, {"samples": 60, "seed": 4}):
        alone = lab.explore(three, **how, **more)
        assert alone.run.violated > 0
        assert told(lab.explore(three, **how, **more, jobs=2)) == told(alone)
        with ThreadPoolExecutor(2) as executor:
            assert told(lab.explore(three, **how, **more, executor=executor)) == told(alone)


class AtOnce(Executor):
    """Does what it is given, so that nothing is left for the search itself to do."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*pickle.loads(pickle.dumps(args)), **kwargs))
        self.done.append(fn.__name__)
        return future


def test_a_lambda_is_explored_by_an_executor(lab: Lab) -> None:
    """The same counterexample too, which is run here."""
    executor = AtOnce()
    functions = [lambda conn: book(conn), book]
    alone = lab.explore(functions, setup=SETUP, reduction=True)
    found = lab.explore(functions, setup=SETUP, reduction=True, executor=executor)
    assert (executor.done[0], set(executor.done[1:])) == ("prepare", {"explore_part"})
    assert told(found) == told(alone)
    assert found.counterexample
    assert found.counterexample.replay().schedule == found.counterexample


def test_what_cannot_travel_is_refused_before_anything_is_run(lab: Lab) -> None:
    """By the session's name; and what a program of this process is asked."""
    with lab.connect() as other, ThreadPoolExecutor(1) as executor:
        wrong = [book, lambda conn: other.execute("select 1")]
        with pytest.raises(BadInput, match=r"session B .*cannot be sent to a worker .*or leave out jobs="):
            lab.explore(wrong, setup=SETUP, reduction=True, executor=executor)
        with pytest.raises(BadInput, match=r"session A \(.*true.*\) is asked of a program .*leave out jobs="):
            lab.explore([lab.command("true")], executor=executor)


class Fresh(AtOnce):
    """Has imported the module a moment ago, and knows nothing of what was set in it since."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        HERE["more"] = 0
        return super().submit(fn, *args, **kwargs)


def test_functions_that_do_otherwise_in_a_worker_are_found_out(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set in a module's memory after it was imported does not travel: nothing is concluded from such a run."""
    monkeypatch.setitem(HERE, "more", 1)
    with pytest.raises(Nondeterminism, match="a worker has other functions than this process, or other data in memory"):
        lab.explore([book] * 2, setup=SETUP, reduction=True, executor=Fresh(), shrink=False)


@pytest.mark.thorough
@pytest.mark.parametrize("how", [{"reduction": False}, {}, {"samples": 1_000, "seed": 2}], ids=str)
def test_a_worker_that_is_killed_changes_nothing(lab: Lab, how: dict[str, Any]) -> None:
    """In the middle of the search, with its server."""
    case = lab.case("lost-update", "repeatable read").with_sessions(3)
    before, killed = set(multiprocessing.active_children()), []

    def kill() -> None:
        one = next(iter(set(multiprocessing.active_children()) - before))
        one.kill()
        killed.append(one)

    alone = case.explore(**how)
    with_less = alone.schedules // 4
    assert told(case.explore(**how, jobs=2, on_progress=after(with_less, kill))) == told(alone)
    assert len(killed) == 1
    assert set(multiprocessing.active_children()) == before


def test_an_exploration_goes_on_from_a_checkpoint(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever began it, and whoever goes on; another case, level or invariant is refused."""
    monkeypatch.setattr(parallel, "SHORT_SECONDS", 0.001)  # less than a schedule takes
    case, path = lab.case("write-skew"), tmp_path / "search"
    alone = case.explore(reduction=False)
    part = case.explore(reduction=False, checkpoint=path, shrink=False, on_progress=after(1, interrupt))
    assert part.interrupted
    assert 0 < part.schedules < alone.schedules
    with pytest.raises(BadInput, match="another search: isolation is 'read committed' there, and 'serializable' now"):
        case.at("serializable").explore(reduction=False, checkpoint=path)
    with pytest.raises(BadInput, match="another search: reduction is False there, and True now"):
        case.explore(checkpoint=path)
    assert told(case.explore(reduction=False, checkpoint=path, executor=AtOnce())) == told(alone)
    assert told(case.explore(reduction=False, checkpoint=path)) == told(alone)


def test_functions_go_on_from_a_checkpoint(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that do the same; others are refused."""
    monkeypatch.setattr(parallel, "SHORT_SECONDS", 0.001)  # less than a schedule takes
    path, how = tmp_path / "search", {"setup": SETUP, "reduction": True, "shrink": False}
    alone = lab.explore([book] * 2, **how)
    part = lab.explore([book] * 2, **how, checkpoint=path, on_progress=after(1, interrupt))
    assert part.interrupted
    assert 0 < part.schedules < alone.schedules
    assert told(lab.explore([book] * 2, **how, checkpoint=path)) == told(alone)
    with pytest.raises(BadInput, match=r"another search: functions is .*book"):
        lab.explore([book, lambda conn: book(conn)], **how, checkpoint=path)


@pytest.mark.thorough
def test_an_interrupt_ends_workers_and_keeps_what_they_found(lab: Lab, tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    case, path = lab.case("lost-update", "repeatable read").with_sessions(3), tmp_path / "search"
    alone = case.explore(reduction=False, shrink=False)
    how: dict[str, Any] = {"reduction": False, "shrink": False, "checkpoint": path}
    part = case.explore(**how, jobs=2, on_progress=after(alone.schedules // 2, interrupt))
    assert part.interrupted
    assert alone.schedules // 2 <= part.schedules < alone.schedules
    assert set(multiprocessing.active_children()) == before
    assert told(case.explore(**how)) == told(alone)


@pytest.mark.thorough
def test_the_cells_of_the_matrix_are_those_of_one_process(lab: Lab) -> None:
    """Transcripts and counterexamples, which can be run again here."""
    names = ["lost-update", "write-skew"]
    alone, two = lab.matrix(names), lab.matrix(names, jobs=2)
    assert list(two.cells) == list(alone.cells)
    for key, cell in alone.cells.items():
        one, other = cell.to_dict(), two.cells[key].to_dict()
        one["all_orders"]["seconds"] = other["all_orders"]["seconds"] = 0
        assert one == other
    shown = [cell.exploration.counterexample for cell in two.cells.values() if cell.exploration.counterexample]
    assert shown[0].replay().schedule == shown[0]


SESSION = """
session {name}
step {name}_read {{ begin; select booked, {what} from slots where slot = 'a'; }}
step {name}_write {{ update slots set booked = booked + 1 where slot = 'a'; commit; }}
"""


@pytest.mark.thorough_but("slot")
@pytest.mark.parametrize("what", ["slot", "length(current_setting('application_name'))"])
def test_sessions_that_are_alike_are_explored_once_by_workers_too(lab: Lab, tmp_path: Path, what: str) -> None:
    """And begin again where they turn out to be told apart, with a checkpoint that says so."""
    case = lab.case(slots_spec("".join(SESSION.format(name=name, what=what) for name in "ABC")))
    alone = case.explore(shrink=False)
    assert alone.complete
    executor, path = AtOnce(), tmp_path / "search"
    assert told(case.explore(shrink=False, executor=executor, checkpoint=path)) == told(alone)
    assert "explore_part" in executor.done
    assert (header(path) or {})["symmetry"] is (what == "slot")
    assert told(case.explore(shrink=False, checkpoint=path)) == told(alone)


@pytest.mark.thorough
def test_what_a_search_of_functions_has_found_out_is_known_when_it_goes_on(lab: Lab, tmp_path: Path) -> None:
    """That they cannot be reduced, or that one of them may touch anything: nothing is taken from before that."""
    path = tmp_path / "search"
    seen: list[int] = []

    def shares(conn: Connection) -> int:
        conn.execute("select 1")
        seen.append(1)
        conn.execute("select 2")
        seen.pop()
        return len(seen)

    def opaque(conn: Connection) -> None:
        conn.execute("declare slot cursor for select booked from slots")
        conn.execute("fetch slot")
        conn.execute("update slots set booked = booked + 1")

    for function, name, found_out in ((shares, "reduction", False), (opaque, "opaque", True)):
        how: dict[str, Any] = {"setup": SETUP, "reduction": True, "shrink": False}
        alone = lab.explore([function] * 2, **how)
        path.unlink(missing_ok=True)
        for _ in range(2):
            assert told(lab.explore([function] * 2, **how, checkpoint=path)) == told(alone)
            assert (header(path) or {})[name] is found_out
