"""Diagnostic queries on a live database during an incident, as tables; read-only.

    with psycopg.connect(dsn, autocommit=True) as connection:
        runbook = Runbook(connection, table="orders")
        runbook.ask("missing-partitions")
        WaitTree.of(runbook.ask("who-blocks-whom"))

The questions are files in sql/runbook, one per question, that psql runs as well. The write-up's versions are beside
them, in as_written.

A question is a file in `sql/runbook`: comment lines with its name, its purpose and how to read the result, then one
statement. Its parameters are psql's variables (`:'table'`), so the same file runs in psql; `questions` reads them,
`ask` is the only place that talks to the server. Every question has a transaction (a savepoint inside an open one)
that is read-only, limited in time and rolled back, so nothing is held from one to the next. The table is found by the
role's search_path, which is then narrowed to pg_catalog.

No question may wait for the lock that it should find. So partitions come from `pg_inherits`; `pg_get_expr` does not
get the table, which it would open; sizes and index definitions are left out for tables locked ACCESS EXCLUSIVE. In
`who-blocks-whom` a waiter has an edge only to the nearest one ahead: `pg_blocking_pids` gives n(n-1)/2 edges in a
queue of n.
"""

from zephyr_lab.runbook import report
from zephyr_lab.runbook.ask import Answer, Runbook
from zephyr_lab.runbook.questions import Question, as_written, question, questions
from zephyr_lab.runbook.wait_tree import WaitTree

__all__ = ["Answer", "Question", "Runbook", "WaitTree", "as_written", "question", "questions", "report"]
