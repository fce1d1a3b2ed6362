"""exactly-once: what holds, and what people try."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.errors import DeadlockDetected, Error, OperationalError, SerializationFailure, UniqueViolation
from tenacity import retry, retry_if_exception_type, stop_after_attempt

Connection = psycopg.Connection[Any]
Connect = Callable[[], Connection]
Work = Callable[[Connection], int]
Happened = Callable[[Connection], bool]


def asks_first(connect: Connect, work: Work, happened: Happened) -> int:
    """Every OperationalError is tried again: 40001, 40P01, and what became of the connection."""
    answer, failure = None, None
    for attempt in range(10):
        try:
            with connect() as conn:
                if answer is not None and happened(conn):
                    return answer
                answer = work(conn)
            return answer
        except OperationalError as error:
            failure = error
            time.sleep(2**attempt)
    raise failure or RuntimeError


def by_tenacity(connect: Connect, work: Work, happened: Happened) -> int:
    @retry(retry=retry_if_exception_type(OperationalError), stop=stop_after_attempt(5), reraise=True)
    def attempt() -> int:
        with connect() as conn:
            return 19 if happened(conn) else work(conn)

    return attempt()


RIGHT = [asks_first, by_tenacity]


def naive(connect: Connect, work: Work, happened: Happened) -> int:
    with connect() as conn:
        return work(conn)


def around_the_work_only(connect: Connect, work: Work, happened: Happened) -> int:
    with connect() as conn:
        for _ in range(10):
            try:
                answer = work(conn)
                break
            except (SerializationFailure, DeadlockDetected):
                conn.rollback()
    return answer


def without_rollback(connect: Connect, work: Work, happened: Happened) -> int:
    with connect() as conn:
        for _ in range(9):
            try:
                return work(conn)
            except SerializationFailure:
                continue
        return work(conn)


def in_a_savepoint(connect: Connect, work: Work, happened: Happened) -> int:
    with connect() as conn:
        conn.execute("select 1")
        for _ in range(9):
            try:
                with conn.transaction():
                    return work(conn)
            except SerializationFailure:
                continue
        return work(conn)


def only_40001(connect: Connect, work: Work, happened: Happened) -> int:
    for _ in range(10):
        try:
            with connect() as conn:
                return work(conn)
        except SerializationFailure as error:
            failure = error
    raise failure


def retries_everything(connect: Connect, work: Work, happened: Happened) -> int:
    for _ in range(10):
        try:
            with connect() as conn:
                return work(conn)
        except Error as error:
            failure = error
    raise failure


def does_not_ask(connect: Connect, work: Work, happened: Happened) -> int:
    """The order's key keeps it from being sold twice, and the customer is told an error though it was sold."""
    for _ in range(10):
        try:
            with connect() as conn:
                return work(conn)
        except OperationalError as error:
            failure = error
    raise failure


def takes_lost_for_done(connect: Connect, work: Work, happened: Happened) -> int:
    for _ in range(10):
        conn = connect()
        try:
            answer = work(conn)
            conn.commit()
            return answer
        except (SerializationFailure, DeadlockDetected) as error:
            failure = error
        except OperationalError:
            return 19
    raise failure


def gives_up_silently(connect: Connect, work: Work, happened: Happened) -> int | None:
    for attempt in range(10):
        try:
            with connect() as conn:
                return 19 if attempt and happened(conn) else work(conn)
        except OperationalError:
            pass
    return None


def never_gives_up(connect: Connect, work: Work, happened: Happened) -> int:
    while True:
        try:
            with connect() as conn:
                return 19 if happened(conn) else work(conn)
        except OperationalError:
            pass


def unique_violation_is_success(connect: Connect, work: Work, happened: Happened) -> int:
    for _ in range(10):
        try:
            with connect() as conn:
                return work(conn)
        except UniqueViolation:
            return 19
        except OperationalError as error:
            failure = error
    raise failure


def commits_nothing(connect: Connect, work: Work, happened: Happened) -> int:
    return work(connect())


def every_statement_by_itself(connect: Connect, work: Work, happened: Happened) -> int:
    for _ in range(10):
        try:
            with connect() as conn:
                conn.autocommit = True
                return work(conn)
        except OperationalError as error:
            failure = error
    raise failure


def other_answer(connect: Connect, work: Work, happened: Happened) -> bool:
    for attempt in range(10):
        try:
            with connect() as conn:
                if not (attempt and happened(conn)):
                    work(conn)
            return True
        except OperationalError as error:
            failure = error
    raise failure


REFUSED = dict.fromkeys([
    naive, around_the_work_only, without_rollback, in_a_savepoint, only_40001, retries_everything, does_not_ask,
    takes_lost_for_done, gives_up_silently, never_gives_up, unique_violation_is_success, commits_nothing,
    every_statement_by_itself, other_answer], "")
