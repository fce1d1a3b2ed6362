"""Runs isolation tests written in the format of Hermitage (github.com/ept/hermitage), and compares.

A Markdown file: SQL blocks whose lines end in a comment that says which session sends them and what is seen then:
`update ...; -- T2, BLOCKS`, `commit; -- T1. This unblocks T2`, `select ...; -- T1. Shows 1 => 11, 2 => 21`, `-- T2.
Returns nothing`, `-- T1. Prints "ERROR: ..."`, `-- T1. T2 now prints out "ERROR: ..."`. The paragraph above a block
is the test's title. The first block without such comments that creates something is the set-up of every test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zephyr_lab.errors import DEADLOCK_DETECTED, SERIALIZATION_FAILURE, UNIQUE_VIOLATION, BadInput
from zephyr_lab.schedule.model import Schedule, Session, Spec, Step
from zephyr_lab.schedule.transcript import Event, EventKind, Transcript

_LINE = re.compile(r"^(?P<sql>.+?;)\s*--\s*(?P<who>T\d+|[Ee]ither)\b[.,]?\s*(?P<says>.*)$")
_ERROR = re.compile(r'(?:(?P<whom>T\d+) now )?prints(?: out)? "ERROR: (?P<text>[^"]*)"', re.IGNORECASE)
_ROW = re.compile(r"(\S+) => ([^,\s]+)")

# Documented messages are compared by SQLSTATE: the server's wording may change.
_MESSAGES = {
    "could not serialize access": SERIALIZATION_FAILURE,
    "deadlock detected": DEADLOCK_DETECTED,
    "duplicate key value": UNIQUE_VIOLATION,
}


@dataclass(frozen=True)
class Documented:
    """A test: its title, its spec and schedule, and the comments by step name."""

    title: str
    spec: Spec
    schedule: Schedule
    says: dict[str, str]

    def differences(self, transcript: Transcript) -> list[str]:
        """Differences of the server from the documentation, in words."""
        found = []
        resumed = {event.session: event for event in transcript.events if event.resumed}
        woken_by = _who_woke_whom(transcript)
        for event in transcript.events:
            if not event.resumed:
                found += [f"{event.step} ({event.session}): {what}" for what in self._compare(event, resumed, woken_by)]
        return found

    def _compare(self, event: Event, resumed: dict[str, Event], woken_by: dict[str, list[Event]]) -> list[str]:
        says, found = self.says[event.step], []
        error = _ERROR.search(says)
        of_itself = error if error and not error["whom"] else None
        if (event.kind is EventKind.WAITS) != ("BLOCKS" in says):
            found.append(f"documented {'to block' if 'BLOCKS' in says else 'not to block'}, {event.text()}")
        woken = woken_by.get(event.step, [])
        for name in re.findall(r"unblocks (T\d+)", says):
            if not any(one.session == name and one.kind is EventKind.COMPLETED for one in woken):
                found.append(f"documented to let {name} go on; woken: {[one.session for one in woken]}")
        if error and error["whom"]:
            states = [one.failure.sqlstate for one in woken if one.session == error["whom"] and one.failure]
            found += _compare_error(states, error["text"], error["whom"])
        elif event.kind is not EventKind.WAITS:
            states = [event.failure.sqlstate] if event.failure else []
            if of_itself or states:
                found += _compare_error(states, of_itself["text"] if of_itself else "", event.session)
        final = resumed.get(event.session, event) if event.kind is EventKind.WAITS else event
        return found + _compare_rows(final, says)


def _compare_error(states: list[str], documented: str, whom: str) -> list[str]:
    expected = next((state for text, state in _MESSAGES.items() if documented.startswith(text)), None)
    if not documented:
        return [f"{whom} was told {states[0]}, and no error is documented"]
    if not states or (expected and states[0] != expected):
        return [f"{whom} is documented to be told {expected or documented!r}, and was told {states or 'no error'}"]
    return []


def _compare_rows(event: Event, says: str) -> list[str]:
    rows = [tuple(str(value) for value in row) for result in event.results for row in result.rows]
    if re.search(r"returns nothing", says, re.IGNORECASE):
        return [f"documented to return nothing, returned {rows}"] if rows else []
    if re.search(r"returns the", says, re.IGNORECASE) and not rows:
        return ["documented to return rows, returned none"]
    missing = [f"{key} => {value}" for key, value in _ROW.findall(says) if (key, value) not in rows]
    return [f"documented to show {', '.join(missing)}, showed {rows}"] if missing else []


def _who_woke_whom(transcript: Transcript) -> dict[str, list[Event]]:
    """Step -> the events of the sessions that it woke."""
    woken: dict[str, list[Event]] = {}
    last = ""
    for event in transcript.events:
        if event.resumed:
            woken.setdefault(last, []).append(event)
        else:
            last = event.step
    return woken


def parse(text: str, source: str) -> list[Documented]:
    """The tests of a Markdown file, in order. Raises BadInput: no tests, or a line of a test without its session."""
    setup, tests = "", []
    for title, line, block in _blocks(text):
        lines = [one for one in block.splitlines() if one.strip()]
        if any(_LINE.match(one) for one in lines):
            tests.append(_test(title, setup, lines, f"{source}, line {line}"))
        elif not setup and re.search(r"(?i)\bcreate\b", block):
            setup = block
    if not tests:
        raise BadInput(f"{source}: no SQL block with lines that end in a session, such as `commit; -- T1`")
    return tests


def _blocks(text: str) -> Iterator[tuple[str, int, str]]:
    """The SQL blocks, each with the paragraph above it and the number of its first line."""
    paragraph: list[str] = []
    block: list[str] | None = None
    previous_line, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if block is None and line.startswith("```sql"):
            block, first = [], number + 1
        elif block is not None and line.startswith("```"):
            yield " ".join(paragraph).removesuffix(":"), first, "\n".join(block)
            block, paragraph = None, []
        elif block is not None:
            block.append(line)
        elif line.strip():
            paragraph = [*paragraph, line.strip()] if previous_line.strip() else [line.strip()]
        previous_line = line


def _test(title: str, setup: str, lines: list[str], where: str) -> Documented:
    steps: list[Step] = []
    says = {}
    for number, line in enumerate(lines, start=1):
        found = _LINE.match(line)
        if found is None:
            raise BadInput(f"{where}: {line.strip()!r} does not end in its session, such as `-- T1`")
        # "either": in any case all transactions are over by then.
        session = steps[0].session if found["who"].lower() == "either" else found["who"]
        step = Step(f"{number}", session, found["sql"])
        steps.append(step)
        says[step.name] = found["says"]
    names = sorted({step.session for step in steps})
    sessions = tuple(Session(name, tuple(step for step in steps if step.session == name)) for name in names)
    spec = Spec(title, sessions, setups=(setup,) if setup else ())
    return Documented(title, spec, Schedule(tuple(step.name for step in steps)), says)
