"""What can go wrong, by name: the lab's own errors, and PostgreSQL's by SQLSTATE.

A docstring of an error class says when it is raised; its message names the session, the step and the way on.
"""

from __future__ import annotations

import re
from functools import cache

SERIALIZATION_FAILURE = "40001"
DEADLOCK_DETECTED = "40P01"
UNIQUE_VIOLATION = "23505"

RETRYABLE = frozenset({SERIALIZATION_FAILURE, DEADLOCK_DETECTED})
"""Answers after which the whole transaction, its decisions included, may simply be run again (manual, 13.5)."""


class LabError(Exception):
    """Base of everything the lab raises on purpose."""


class BadInput(LabError):
    """Something that was asked for does not exist or cannot be read: a case, a level, a schedule, a spec file."""


class ServerUnavailable(LabError):
    """No usable PostgreSQL or Redis: missing binaries, unreachable DSN, wrong password, too old, no rights."""


class ScheduleError(LabError):
    """A schedule that the server does not admit: a step for a session that is waiting or has no step left."""


class SetupFailed(LabError):
    """A setup or teardown block of a spec was answered with an error."""


class StepTimeout(LabError):
    """A step neither ended nor waits for another session of the schedule, within the time given to a step."""


class ServerLost(LabError):
    """The server went away under the lab's own connection, or the lab is closed."""


class NotebookFailed(LabError):
    """A cell of a notebook that is to be stored raised an error."""


class SiteFailed(LabError):
    """The site could not be built."""


def is_retryable(exc: BaseException | None) -> bool:
    """Whether `exc`, or anything it was raised from, is a serialization failure or a deadlock, by SQLSTATE.

    The chain of causes is followed because services wrap their driver's errors.
    """
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        if getattr(exc, "sqlstate", None) in RETRYABLE:
            return True
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return False


@cache
def condition_name(sqlstate: str) -> str:
    """PostgreSQL's name of a condition, as in appendix A of its manual: '40001' -> 'serialization_failure'.

    An unknown SQLSTATE gives an empty string.
    """
    from psycopg import errors

    try:
        name = errors.lookup(sqlstate).__name__
    except KeyError:
        return ""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
