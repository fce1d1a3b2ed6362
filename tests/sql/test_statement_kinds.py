"""What a statement is said to be is what the server makes of it."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.errors import SyntaxError as ServerSyntaxError
from psycopg.pq import TransactionStatus

from tests.sql.test_classify import KINDS
from zephyr_lab.lab import Lab
from zephyr_lab.sql.classify import Kind, Statement, classify

STATEMENTS = [one for some in KINDS.values() for sql in some for one in classify(sql) if one.kind is not Kind.UNKNOWN]


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: one.text)
def test_the_server_understands_it_and_takes_a_snapshot_where_that_is_said(lab: Lab, statement: Statement) -> None:
    """A transaction at REPEATABLE READ that has no snapshot yet sees what is committed now."""
    with lab.connect() as one, lab.connect() as other:
        for name in ("t", "u", "seen"):
            other.execute(f"drop table if exists {name}; create table {name} (a int)")
        one.execute("begin isolation level repeatable read")
        try:
            one.execute(statement.text.encode())
        except ServerSyntaxError:
            raise
        except psycopg.Error:  # there is no such cursor, role or savepoint
            return
        finally:
            status = one.info.transaction_status
            if status != TransactionStatus.INTRANS:
                one.execute("rollback")
        if status == TransactionStatus.INTRANS and statement.level in ("", "repeatable read"):
            other.execute("insert into seen values (1)")
            assert one.execute("select count(*) from seen").fetchone() == (0 if statement.takes_snapshot else 1,)


@pytest.mark.parametrize("statement", [one for one in STATEMENTS if one.level], ids=lambda one: one.text)
def test_the_level_is_the_one_that_is_named(lab: Lab, statement: Statement) -> None:
    """Of this transaction, or of those to come."""
    with lab.connect() as one:
        if statement.kind is not Kind.BEGIN:
            one.execute("begin")
        one.execute(statement.text.encode())
        shown = one.execute(f"show {'default_' * (statement.kind is Kind.SET)}transaction_isolation").fetchone()
        assert shown == (statement.level,)
