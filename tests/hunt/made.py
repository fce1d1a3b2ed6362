"""Operations' footprints and decisions, made by hand."""

from __future__ import annotations

from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.hunt.access import Access, Footprint, accesses_of
from zephyr_lab.hunt.decision import Decision, Finding, Kind
from zephyr_lab.hunt.found import Known
from zephyr_lab.hunt.report import Hunt

WRITES = {"SET", "SETNX", "DEL", "INCRBY", "INCR"}
TRANSCRIPT = {
    "case": "functions", "isolation": "read committed", "schedule": "book book-2", "sessions": ["book", "book-2"],
    "events": [
        {"session": one, "step": one, "sql": "select '</script>'", "event": "completed", "resumed": False,
         "text": "-> 0", "transaction": 1}
        for one in ("book", "book-2")
    ],
    "summary": ["ends:   book committed, book-2 committed"], "ends": {}, "final": {},
    "transactions": [
        {"session": one, "steps": [one], "end": "committed", "sqlstate": None} for one in ("book", "book-2")
    ],
}  # fmt: skip


def accesses(*asked: str) -> tuple[Access, ...]:
    """Of statements and Redis commands (`redis: GET a`); line 1 asked the first one."""
    found: list[Access] = []
    for line, sql in enumerate(asked, start=1):
        redis = None
        if sql.startswith("redis: "):
            redis = RedisAccess.WRITES if sql.split()[1] in WRITES else RedisAccess.READS
        found += accesses_of(RoundTrip(sql, redis=redis, where=f"shop.py:{line}"), found[-1] if found else None)
    return tuple(found)


def footprint(*asked: str) -> Footprint:
    """As if all of it had been understood."""
    made = accesses(*asked)
    reads = frozenset[str]().union(*(one.targets for one in made if not (one.writes or one.locks)))
    return Footprint(made, reads, frozenset[str]().union(*(one.targets for one in made if one.writes or one.locks)))


def finding(*places: str) -> Finding:
    return Finding("book book-2", "the timeline", "the verdict", ("lost update: a remedy",), places, TRANSCRIPT)


def hunt(*decisions: Decision) -> Hunt:
    """Of the operations that are decided on; `book` is defined in line 1 of a file."""
    names = dict.fromkeys(name for one in decisions for name in one.operations)
    known = {name: Known((), f"writes {name}s", place="shop.py:1" if name == "book" else "") for name in names}
    return Hunt("read committed", known, {one.operations: one for one in decisions})


def race(*operations: str, places: tuple[str, ...] = ("shop.py:22", "shop.py:23")) -> Decision:
    why = "an outcome that no serial order gives"
    return Decision(operations, Kind.RACES, why, "read-then-write", (), 2, 0.1, finding(*places))


def safe(*operations: str) -> Decision:
    return Decision(operations, Kind.SAFE, "independent: reads slots | writes visits")


def undecided(*operations: str) -> Decision:
    return Decision(operations, Kind.UNDECIDED, "the budget ended before its turn", "conflict")
