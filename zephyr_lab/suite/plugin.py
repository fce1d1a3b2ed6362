"""`pytest --zephyr-hunt`: records what a project's own suite asks its database, and hunts for races among that.

`docs/pytest.md` shows how to use it. Registered by `pytest_plugin` where it is asked for, so that others pay nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from zephyr_lab.errors import BadInput, LabError, SetupFailed
from zephyr_lab.hunt.decision import Kind
from zephyr_lab.hunt.operation import Setups
from zephyr_lab.suite.chosen import apart, chosen, readings_of
from zephyr_lab.suite.operations import Operation, distinct
from zephyr_lab.suite.recorder import Recorder
from zephyr_lab.suite.replay import function_of
from zephyr_lab.suite.rows import Rows
from zephyr_lab.suite.stack import Files

if TYPE_CHECKING:
    from zephyr_lab.hunt.report import Hunt
    from zephyr_lab.lab import Lab

BUDGET = 60.0
REPLAYED = "replayed as SQL: decisions of the program between statements are not re-made"
_WAY_ON = "name what makes the tables, a file of SQL or module:function, as zephyr_hunt_setup in pytest's ini file"
_ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
_SENT = "zephyr_hunt"  # in what a worker of xdist hands over
_ELSEWHERE = ("ZEPHYR_LAB_PG_DSN", "ZEPHYR_LAB_REDIS_URL")


class SuiteHunt:
    """Hooks of a run with `--zephyr-hunt`."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._recorder = Recorder(Files(config.rootpath), Rows())
        self._sent: list[dict[str, Any]] = []  # of workers
        self._found: Hunt | None = None
        self._trouble = ""
        self._said: list[str] = []
        self._patches = contextlib.ExitStack()
        config.add_cleanup(self._patches.close)
        self._patches.enter_context(self._recorder.recording())

    def _option(self, name: str) -> Any:
        return self._config.getoption(f"--zephyr-hunt-{name}")

    # -- while the suite runs

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        with self._recorder.test(item.nodeid):
            return (yield)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """xdist's hook: a worker has ended."""
        if sent := getattr(node, "workeroutput", {}).get(_SENT):
            self._sent.append(sent)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker hands over what it has recorded; else the hunt begins."""
        self._patches.close()
        if (output := getattr(self._config, "workeroutput", None)) is not None:
            output[_SENT] = _recorded(self._recorder)
            return
        if session.exitstatus not in _ENDED:
            self._trouble = "the run has ended early"
            return
        try:
            self._hunt()
        except SetupFailed as error:
            self._trouble = f"{error}; {_WAY_ON}"
        except (LabError, OSError) as error:
            self._trouble = str(error)
        except Exception as error:  # the tests have run, and what they say counts
            self._trouble = f"{type(error).__name__}: {error}, an error of zephyr_lab's own"
        failed = self._trouble or (self._found and (self._found.races or self._found.undecided))
        if self._option("strict") and failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    # -- the hunt

    def _hunt(self) -> None:
        operations, rows = self._joined()
        if not operations:
            self._trouble = (
                "nothing was recorded: no test called code of the project, outside of tests/, test_*.py and "
                "conftest.py, that asked PostgreSQL by psycopg 3"
            )
            return
        named = chosen(distinct(operations))
        setup = self._setup(rows, named)
        with _own_lab() as lab:
            found = lab.hunt(
                {name: function_of(one) for name, one in named.items()}, setup=setup,
                budget=self._option("budget") or BUDGET,
            )  # fmt: skip
        self._found = _with_what_was_not_met(found, named)
        self._found.notes[:0] = [REPLAYED, *self._said]
        self._write(self._found)

    def _joined(self) -> tuple[list[Operation], Rows]:
        """Of all workers, or of this process; and says what was not recorded."""
        operations, rows, lost = [], Rows(), Counter[str]()
        for some in self._sent or [_recorded(self._recorder)]:
            first = rows.add(Rows.of(some["rows"]))
            for said in some["operations"]:
                one = Operation.of(said)
                operations.append(one if one.rows is None else replace(one, rows=one.rows + first))
            lost.update(some["lost"])
        self._said += [f"not recorded: {why}: {times}" for why, times in sorted(lost.items())]
        self._said += [f"rows that could not be read: {why}: {times}" for why, times in sorted(rows.unread.items())]
        self._said += [f"not all rows of {name} were read" for name in sorted(rows.cut)]
        if rows.definitions.trouble:
            self._said.append(f"tables are not known: {rows.definitions.trouble}")
        return operations, rows

    def _setup(self, rows: Rows, named: Mapping[str, Operation]) -> Any:
        """What the ini file names, else what the operations have met. Raises BadInput."""
        if given := self._config.getini("zephyr_hunt_setup"):
            return _named(str(given), self._config.rootpath)
        if not rows.definitions.statements:
            raise BadInput(f"the tables of the suite's database are not known; {_WAY_ON}")
        return Setups(lambda names: rows.setup(readings_of([named[name] for name in names])))

    def _write(self, found: Hunt) -> None:
        output = self._option("output")
        if output:
            Path(output).write_text(_text(found, self._option("format") or "text"), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("zephyr hunt")
        if self._trouble:
            lines = [*self._said, f"no hunt: {self._trouble}"]
        else:
            form = self._option("format") or "text"
            output = self._option("output")
            assert self._found is not None
            shown = str(self._found) if output or form == "html" else _text(self._found, form)
            lines = [*shown.splitlines(), *([f"written to {output}"] if output else [])]
        for line in lines:
            terminalreporter.write_line(line)


def _recorded(recorder: Recorder) -> dict[str, Any]:
    return {
        "operations": [one.to_dict() for one in recorder.operations],
        "rows": recorder.rows.to_dict(), "lost": recorder.lost,
    }  # fmt: skip


def _text(found: Hunt, form: str) -> str:
    if form == "html":
        return found.to_html()
    if form == "text":
        return f"{found}\n"
    return json.dumps(found.to_dict() if form == "json" else found.to_sarif(), indent=1)


def _with_what_was_not_met(found: Hunt, named: Mapping[str, Operation]) -> Hunt:
    """The same, where pairs are not safe that could not meet in replays, or of which not all is known."""
    for names, one in found.decisions.items():
        if one.kind is not Kind.SAFE:
            continue
        held = [name for name in names if named[name].holds_back]
        if column := apart(*(named[name] for name in names)) if one.schedules else "":
            why = f"the suite gave them different rows ({column}): let a test call both on the same ones"
        elif held:
            why = f"{held[0]}: a session may hold changes back in a test's transaction: let the test's fixture commit"
        else:
            continue
        found.decisions[names] = replace(one, kind=Kind.UNDECIDED, why=why)
    return found


def _named(setup: str, root: Path) -> Any:
    """A file of SQL, or a function. Raises BadInput."""
    if setup.endswith(".sql"):
        try:
            return (root / setup).read_text(encoding="utf-8")
        except OSError as error:
            raise BadInput(f"zephyr_hunt_setup: cannot read {setup}: {error.strerror}") from None
    module, _, name = setup.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"zephyr_hunt_setup is a file.sql or module:function, not {setup!r}: {error}") from None


@contextlib.contextmanager
def _own_lab() -> Iterator[Lab]:
    """A lab on a server of its own, whatever the environment names: what was recorded is replayed nowhere else."""
    from zephyr_lab.lab import Lab

    with pytest.MonkeyPatch.context() as patch:
        for name in _ELSEWHERE:
            patch.delenv(name, raising=False)
        lab = Lab()
    with lab:
        yield lab
