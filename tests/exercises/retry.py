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
                conn.commit()
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
    """Where only the answer to the COMMIT was lost, all of it happens twice."""
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


REFUSED = {
    naive: "with 40001 at the SELECT",
    around_the_work_only: "with 40001 at the COMMIT",
    without_rollback: "takes nothing but its end",
    in_a_savepoint: "a second attempt in the same transaction",
    only_40001: "with 40P01 at the UPDATE",
    retries_everything: "what a retry cannot heal is not retried",
    does_not_ask: "after the server had carried it out",
    takes_lost_for_done: "what was promised has happened",
    gives_up_silently: "who has not succeeded says so",
    never_gives_up: "it gives up in the end",
    unique_violation_is_success: "who has not succeeded says so",
    commits_nothing: "what was promised has happened",
    every_statement_by_itself: "all of it happens, or nothing",
    other_answer: "it returns what work() returned",
}
