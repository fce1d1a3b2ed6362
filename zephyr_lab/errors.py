"""What can go wrong, by name: the lab's own errors, and PostgreSQL's by SQLSTATE.

A docstring of an error class says when it is raised; its message names the session, the step and the remedy.
"""

from __future__ import annotations

import re
from functools import cache

SERIALIZATION_FAILURE = "40001"
DEADLOCK_DETECTED = "40P01"
UNIQUE_VIOLATION = "23505"
LOCK_NOT_AVAILABLE = "55P03"

RETRYABLE = frozenset({SERIALIZATION_FAILURE, DEADLOCK_DETECTED})
"""Errors after which the whole transaction, including its decisions, may simply be retried (manual, 13.5)."""


REFUSALS = RETRYABLE | {LOCK_NOT_AVAILABLE}
"""Errors of a transaction that are caused by another one: also of NOWAIT and lock_timeout."""


class LabError(Exception):
    """Base of everything the lab raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """The message in a notebook (IPython's protocol), without a traceback through the lab's own code."""
        return [f"{type(self).__name__}: {self}"]


class BadInput(LabError):
    """Something requested does not exist or is malformed: a case, a level, a schedule, a spec file."""


class MissingExtra(LabError, ModuleNotFoundError):
    """A library that an extra brings is not installed; see `zephyr_lab.extras`."""

    def __init__(self, text: str, name: str, extra: str) -> None:
        super().__init__(text, name=name)
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str | None, str]]:
        return type(self), (str(self), self.name, self.extra)  # out of another process


class ServerUnavailable(LabError):
    """No usable PostgreSQL or Redis: missing binaries, unreachable DSN, wrong password, too old, no rights."""


class ScheduleError(LabError):
    """A schedule that the server does not admit: a step for a session that is waiting or has no step left.

    Of a session that is waiting, `schedule` ends with that step: no schedule that begins so is admitted.
    """

    def __init__(self, text: str, *, schedule: str = "") -> None:
        super().__init__(text)
        self.schedule = schedule


class SetupFailed(LabError):
    """A setup or teardown block of a spec raised an error."""


class StepTimeout(LabError):
    """A step neither ended nor waits for another session of the schedule, within a step's time limit.

    If the server was executing it, and a search can continue with other schedules, `schedule` is the prefix, and
    `reason` the message without it.
    """

    def __init__(self, text: str, *, schedule: str = "", reason: str = "") -> None:
        super().__init__(text)
        self.schedule, self.reason = schedule, reason


class NothingTested(LabError):
    """Every function raised an error in every schedule, as for a missing table: nothing was tested."""


class ServerLost(LabError):
    """The server went away under the lab's own connection, or the lab is closed."""


class WireError(LabError):
    """What arrived over a connection is not its protocol, or a part of it that the lab refuses."""


class InternalFault(LabError):
    """A fault of the lab itself: it says nothing about what was asked."""


class Presumed(LabError):
    """What a search takes for granted is not so: it begins again without `what`, a field of its `Selection`."""

    what: str


class QuestionFailed(LabError):
    """A question of the runbook failed: a time limit, a missing privilege, wrong SQL."""


class NotebookFailed(LabError):
    """A cell raised an error in a notebook to be stored."""


class SiteFailed(LabError):
    """The site could not be built."""


def is_retryable(exc: BaseException | None) -> bool:
    """Whether `exc`, or any of its causes, is a serialization failure or a deadlock, by SQLSTATE."""
    return bool(sqlstate_among(RETRYABLE, exc))


def sqlstate_among(states: frozenset[str], exc: BaseException | None) -> str:
    """The SQLSTATE of `exc`, or of any of its causes (services wrap their driver's errors), if in `states`, else ''."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        if (state := getattr(exc, "sqlstate", None)) in states:
            return str(state)
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return ""


@cache
def condition_name(sqlstate: str) -> str:
    """PostgreSQL's name of a condition (appendix A): '40001' -> 'serialization_failure'; '' for an unknown SQLSTATE."""
    from psycopg import errors

    try:
        name = errors.lookup(sqlstate).__name__
    except KeyError:
        return ""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
