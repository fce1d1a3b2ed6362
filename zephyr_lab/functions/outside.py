"""Names what functions use that is in no outcome, so that nobody takes it for compared."""

from __future__ import annotations

import re
from collections.abc import Iterable

FILES = "files that functions write"
HELD_ON = "advisory locks that a session still holds at its end"
SERVERS = "what other servers are sent or answer (HTTP, mail)"
LIFETIMES = "how long keys of Redis have to live: only whether they expire"

_OF_SQL = {
    r"\blo_\w+": "large objects (lo_...)",
    r"\b(notify|pg_notify)\b": "notifications (NOTIFY): who would hear them, and when",
    r"\bcopy\b[^;]*\b(from|to)\s+(program\b|')|\bpg_(read|write)\w*_file\b": "files and programs of the server (COPY)",
    r"\b(dblink\w*|create\s+server|foreign\s+table)\b": "other databases (dblink, foreign tables)",
    r"\b(create|alter|drop)\s+(role|user|group|database|tablespace|publication|subscription)\b":
        "roles, databases and whatever else is outside of all schemas",
    r"\bcreate\s+temp(orary)?\b": "temporary tables, which end with their session",
}  # fmt: skip
_OF_REDIS = {
    r"PUBLISH|SPUBLISH": "messages published in Redis (PUBLISH)",
    r"\w*EXPIRE(AT)?|SETEX|PSETEX|GETEX|HSETEX|HGETEX": LIFETIMES,
    r"(SET|RESTORE)\b.*? (EX|PX|EXAT|PXAT|TTL)": LIFETIMES,
    r"FUNCTION|CONFIG|ACL|SCRIPT": "functions, settings and users of Redis",
}
_SQL = [(re.compile(pattern, re.IGNORECASE), said) for pattern, said in _OF_SQL.items()]
_REDIS = [
    (re.compile(rf"(?:^redis: |; )(?:{pattern})\b", re.IGNORECASE | re.DOTALL), said)
    for pattern, said in _OF_REDIS.items()
]


def seen_in(statements: Iterable[str]) -> set[str]:
    """Which of these the statements of a transcript use."""
    found = set()
    for statement in statements:
        patterns = _REDIS if statement.startswith("redis: ") else _SQL
        found |= {said for pattern, said in patterns if pattern.search(statement)}
    return found
