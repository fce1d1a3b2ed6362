"""What may be retried, by SQLSTATE."""

from __future__ import annotations

import subprocess
import sys

from psycopg import errors

from zephyr_lab.errors import condition_name, is_retryable


def wrapped(cause: BaseException) -> Exception:
    """The cause inside two layers of a service's own exceptions."""
    try:
        try:
            try:
                raise cause
            except BaseException as first:
                raise ValueError("could not save the order") from first
        except ValueError:
            raise RuntimeError("request failed")  # noqa: B904  the cause is only the context
    except RuntimeError as outer:
        return outer


def test_a_serialization_failure_and_a_deadlock_are_retryable_however_wrapped() -> None:
    """Also where only the context says so."""
    assert is_retryable(errors.SerializationFailure())
    assert is_retryable(wrapped(errors.SerializationFailure()))
    assert is_retryable(wrapped(errors.DeadlockDetected()))


def test_others_are_not_whatever_their_text_says() -> None:
    """The write-up's check by text would retry the second of these."""
    assert not is_retryable(None)
    assert not is_retryable(errors.UniqueViolation("could not serialize: serialization_log_pkey"))
    assert not is_retryable(wrapped(errors.UniqueViolation("deadlock")))
    assert not is_retryable(ValueError("40001"))


def test_conditions_have_postgresqls_names() -> None:
    """As in appendix A of its manual."""
    assert condition_name("40001") == "serialization_failure"
    assert condition_name("40P01") == "deadlock_detected"
    assert condition_name("23505") == "unique_violation"
    assert condition_name("ZZ999") == ""


def test_a_notebook_shows_the_message_of_our_errors_and_no_trace() -> None:
    """In a real IPython, where a learner's schedule does not fit."""
    code = "from zephyr_lab.errors import ScheduleError; raise ScheduleError('A waits for B; step B first')"
    done = subprocess.run([sys.executable, "-m", "IPython", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["ScheduleError: A waits for B; step B first"]
    assert "Traceback" not in done.stdout
