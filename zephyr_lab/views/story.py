"""A transcript as a story to step through: after each event, every session's state and what its snapshot sees.

What it can know. Waits, results and ends come from the server. Versions are the rows committed after each step
(`Transcript.glances`), numbered from 1. The time of a snapshot follows from those and from the manual (13.2): READ
COMMITTED takes one for each statement, the higher levels one for the transaction, at its first statement that needs
one; a session that waited for a safe snapshot (READ ONLY DEFERRABLE) has that of the wait's end.

What it cannot know. A row's versions inside the server, including dead ones; uncommitted changes of a session, except
the number of rows; the order of two commits in one step; a level that was set by anything else than BEGIN or SET. A
step of several statements is one moment. Of a run that was not observed only the end is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from zephyr_lab.sql.classify import Kind, classify
from zephyr_lab.views.edges import edges

_CHANGES = re.compile(r"(?:INSERT 0|UPDATE|DELETE|MERGE) (\d+)")
_EACH_STATEMENT = ("read committed", "read uncommitted")
_TONES = {"completed": "good", "waits": "wait"}

MOST_ROWS = 6  # of a table, in a version

Event = dict[str, Any]


def story(transcript: dict[str, Any]) -> dict[str, Any]:
    """The stepper's data, from `Transcript.to_dict()`: lists, numbers and strings only.

    `frames` has one entry more than `events`: the state before the first one. `sees` is an index in `versions`.
    """
    from zephyr_lab.views.figure import session_colour  # matplotlib comes with an extra

    names, events = transcript["sessions"], [_complete(event) for event in transcript["events"]]
    versions, seen_from = _versions(transcript, events)
    tale = _Tale(transcript, events, seen_from, [one["at"] for one in versions])
    return {
        "case": transcript["case"],
        "level": transcript["isolation"],
        "schedule": transcript["schedule"],
        "sessions": [{"name": name, "colour": session_colour(name, place)} for place, name in enumerate(names)],
        "events": [_shown(event, names, tale.wait_ends(at)) for at, event in enumerate(events)],
        "versions": versions,
        "frames": [
            {"states": [tale.state(name, at) for name in names], "say": _say(events, versions, at)}
            for at in range(len(events) + 1)
        ],
        "edges": edges(transcript, events, tale.ends, tale.taken),
        "summary": transcript["summary"],
    }


def dependencies(transcript: dict[str, Any]) -> list[dict[str, Any]]:
    """The dependencies between transactions, from `Transcript.to_dict()`: see `edges`."""
    events = [_complete(event) for event in transcript["events"]]
    versions, seen_from = _versions(transcript, events)
    tale = _Tale(transcript, events, seen_from, [one["at"] for one in versions])
    return edges(transcript, events, tale.ends, tale.taken)


def _complete(event: Event) -> Event:
    return {**event, "transaction": event["transaction"] or 1}


def _one_line(event: Event) -> str:
    return " ".join(event["sql"].split()).removesuffix(";")


def _shown(event: Event, names: Sequence[str], until: int | None) -> dict[str, Any]:
    swallowed = event["event"] == "completed" and "ROLLBACK, and no error" in event["text"]
    return {
        "lane": names.index(event["session"]),
        "sql": "" if event["resumed"] else _one_line(event),
        "text": event["text"],
        "tone": "bad" if swallowed else _TONES.get(event["event"], "bad"),
        "until": until,
    }


def _say(events: Sequence[Event], versions: Sequence[dict[str, Any]], at: int) -> str:
    """The moment in a sentence, for screen readers."""
    if at == 0:
        return "Nothing has been sent yet."
    event = events[at - 1]
    said = f"{at} of {len(events)}. {event['session']}: {_one_line(event)}: {event['text']}."
    new = [one for one in versions[1:] if one["at"] == at]
    return said + "".join(f" Version {versions.index(one) + 1} is committed." for one in new)


def _versions(transcript: dict[str, Any], events: Sequence[Event]) -> tuple[list[dict[str, Any]], list[int | None]]:
    """Every committed state of the tables, and for each event the newest one when its step was sent."""
    glances = transcript.get("glances", [])
    if not glances:
        last = [{"by": "at the end", "at": len(events), "tables": _tables(transcript["final"], {})}]
        return last if transcript["final"] else [], [None] * len(events)
    known = dict(glances[0]["tables"])
    versions = [{"by": "as set up", "at": 0, "tables": _tables(known, {})}]
    seen_from: list[int | None] = []
    for before, after in pairwise(glances):
        seen_from += [len(versions) - 1] * (after["after"] - before["after"])
        # A table that is locked against reading is missing; a dropped one is rare.
        now = {**known, **after["tables"]}
        span = range(before["after"], after["after"])
        same = now == known and known.keys() <= after["tables"].keys() and _rewrote(transcript, events, span)
        if now != known or same:
            at, by = _committed(transcript, events, span)
            versions.append({"by": by + ", the same values" * same, "at": at, "tables": _tables(now, known)})
            known = now
    return versions, seen_from


def _tables(tables: dict[str, Any], before: dict[str, Any]) -> list[dict[str, Any]]:
    """Tables with, for each row, whether it is new since the previous version; of many rows the new ones first."""
    told = []
    for name, table in tables.items():
        rows = [(row, name in before and row not in before[name]["rows"]) for row in table["rows"]]
        count = f"{len(rows)} rows" if len(rows) > MOST_ROWS else "" if rows else "no rows"
        shown = sorted(rows, key=lambda one: not one[1])[:MOST_ROWS]
        told.append(
            {
                "name": name,
                "columns": table["columns"],
                "rows": [row for row, _ in shown],
                "new": [new for _, new in shown],
                "more": f"... {count}" if len(rows) > MOST_ROWS else count,
            }
        )
    return told


def _rewrote(transcript: dict[str, Any], events: Sequence[Event], span: range) -> bool:
    """Whether a transaction that changed rows has committed in these events, even if to equal rows."""
    return any(
        _ends(transcript, events, at) == "committed"
        and _changed_rows(e for e in events if all(e[key] == events[at][key] for key in ("session", "transaction")))
        for at in span
    )


def _changed_rows(events: Iterable[Event]) -> int:
    tags = [result["tag"] for event in events for result in event.get("results", [])]
    return sum(int(found[1]) for tag in tags if (found := _CHANGES.fullmatch(tag)))


def _committed(transcript: dict[str, Any], events: Sequence[Event], span: range) -> tuple[int, str]:
    """The event of a step after which its commits were done, and their sessions."""
    done = [at for at in span if _ends(transcript, events, at) == "committed"] or [span.start]
    return done[-1] + 1, "commit of " + " and ".join(dict.fromkeys(events[at]["session"] for at in done))


def _ends(transcript: dict[str, Any], events: Sequence[Event], at: int) -> str | None:
    """The end of the transaction at an event; None if it continued."""
    session, number = events[at]["session"], events[at]["transaction"]
    later = [one for one in events[at + 1 :] if (one["session"], one["transaction"]) == (session, number)]
    of_session = [one for one in transcript["transactions"] if one["session"] == session]
    return None if later or number > len(of_session) else of_session[number - 1]["end"]


class _Tale:
    """The events of a transcript, the newest version when each was sent, and since when each version exists."""

    def __init__(
        self, transcript: dict[str, Any], events: Sequence[Event], seen_from: Sequence[int | None], since: Sequence[int]
    ) -> None:
        self._transcript, self._events, self._seen_from, self._since = transcript, events, seen_from, since

    def wait_ends(self, at: int) -> int | None:
        """The event that ends the wait begun at event `at`; the last but one if it does not end."""
        event = self._events[at]
        if event["event"] != "waits":
            return None
        later = [place for place in range(at + 1, len(self._events)) if self._same_session(place, event)]
        return later[0] if later else len(self._events)

    def ends(self, at: int) -> str | None:
        """The end of the transaction that event `at` ended."""
        return _ends(self._transcript, self._events, at)

    def taken(self, at: int) -> tuple[int, int]:
        """The event at which the snapshot of event `at` was taken, and the one whose rows it saw after a wait."""
        event = self._events[at]
        mine = [place for place in range(at + 1) if self._same_transaction(place, event)]
        needing = [place for place in mine if _needs_snapshot(self._events[place]["sql"])]
        each = self._level(mine) in _EACH_STATEMENT
        taken = self._taken(needing, each)
        seen = at if taken is None else taken
        return seen, at if each and event["resumed"] else seen

    def _level(self, mine: Sequence[int]) -> str:
        """The level of a transaction with the events `mine`, which it may have set itself."""
        level = str(self._transcript["isolation"])
        for place in mine:
            for one in classify(self._events[place]["sql"]):
                if one.level and one.kind is not Kind.SET:  # which applies to later transactions
                    level = one.level
        return level

    def _same_session(self, place: int, event: Event) -> bool:
        return bool(self._events[place]["session"] == event["session"])

    def state(self, name: str, at: int) -> dict[str, Any]:
        """A session's state after `at` events."""
        mine = [place for place in range(at) if self._events[place]["session"] == name]
        if not mine:
            return {"state": "no transaction", "tone": "", "note": "", "sees": None}
        last = mine[-1]
        event, ended = self._events[last], _ends(self._transcript, self._events, last)
        note, sees = self._snapshot([place for place in mine if self._same_transaction(place, event)])
        if event["event"] == "waits":
            return {"state": event["text"], "tone": "wait", "note": note, "sees": sees}
        if event["event"] in ("connection lost", "not sent"):
            return {"state": "connection lost", "tone": "bad", "note": "", "sees": None}
        if ended in ("committed", "rolled back"):
            just_now = last == at - 1 and len([p for p in mine if self._same_transaction(p, event)]) == 1
            return {
                "state": ended,
                "tone": "good" if ended == "committed" else "",
                "note": note if just_now else "",
                "sees": sees if just_now else None,
            }
        if failed := [self._events[p]["sqlstate"] for p in mine if self._failed(p, event, at)]:
            return {"state": f"failed: {failed[0]}", "tone": "bad", "note": "", "sees": None}
        return {"state": "in a transaction", "tone": "", "note": note, "sees": sees}

    def _same_transaction(self, place: int, event: Event) -> bool:
        other = self._events[place]
        return (other["session"], other["transaction"]) == (event["session"], event["transaction"])

    def _failed(self, place: int, event: Event, at: int) -> bool:
        # After a failure behind a savepoint the transaction may continue.
        rescued = any(
            one.kind is Kind.ROLLBACK_TO
            for later in range(place, at)
            if self._same_transaction(later, event)
            for one in classify(self._events[later]["sql"])
        )
        return self._same_transaction(place, event) and "sqlstate" in self._events[place] and not rescued

    def _snapshot(self, mine: Sequence[int]) -> tuple[str, int | None]:
        """What a transaction with the events `mine` so far sees, in words and as a version."""
        needing = [place for place in mine if _needs_snapshot(self._events[place]["sql"])]
        each = self._level(mine) in _EACH_STATEMENT
        taken = self._taken(needing, each)
        if taken is None:
            return "no snapshot yet", None
        version = self._newest(taken)
        sees = "" if version is None else f" {'saw' if each else 'sees'} version {version + 1}"
        if each:
            note = f"its last statement{sees}" if sees else "a snapshot for each statement"
            event = self._events[needing[-1]]
            if sees and event["resumed"] and event["event"] == "completed" and self._lock(event) != "relation":
                note += ", and the newest of the rows it waited for"
        else:
            note = f"its snapshot, taken at {taken + 1}" + (f",{sees}" if sees else "")
        return note + self._changed(mine), version

    def _taken(self, needing: Sequence[int], each: bool) -> int | None:
        """The event at which the current snapshot was taken; `needing` are its transaction's events that need one.

        A table lock is requested before a statement's snapshot is taken, but after a transaction's.
        """
        if not needing:
            return None
        event = self._events[needing[-1] if each else needing[0]]
        of_step = [place for place in needing if self._events[place]["step"] == event["step"]]
        if self._lock(event) == "safe snapshot" or (each and self._lock(event) == "relation"):
            return of_step[-1] if self._events[of_step[-1]]["event"] != "waits" else None
        return of_step[0]

    def _lock(self, event: Event) -> str:
        """What an event's step waited for last; '' if it did not wait."""
        waits = [one for one in self._events if one["step"] == event["step"] and one["event"] == "waits"]
        return waits[-1]["lock"] if waits else ""

    def _newest(self, place: int) -> int | None:
        """The newest version that an event could see: when its step was sent, or when it resumed."""
        if not self._events[place]["resumed"] or self._seen_from[place] is None:
            return self._seen_from[place]
        return max(number for number, at in enumerate(self._since) if at <= place)

    def _changed(self, mine: Sequence[int]) -> str:
        count = _changed_rows(self._events[place] for place in mine)
        kinds = {one.kind for place in mine for one in classify(self._events[place]["sql"])}
        back = kinds & {Kind.ROLLBACK, Kind.ROLLBACK_TO}
        return f"; it has changed {count} row{'s' * (count != 1)}" if count and not back else ""


def _needs_snapshot(sql: str) -> bool:
    return any(one.takes_snapshot for one in classify(sql))
