"""Questions asked of a live database during an incident, answered as tables; read-only.

    with psycopg.connect(dsn, autocommit=True) as connection:
        runbook = Runbook(connection, table="orders")
        runbook.ask("missing-partitions")
        WaitTree.of(runbook.ask("who-blocks-whom"))

The questions are files in sql/runbook, one a question, that psql runs as well. Beside them, in as_written, is what the
write-up asked instead.

A question is a file in `sql/runbook`: comment lines with its name, what it answers and how to read it, then one
statement. Its parameters are psql's variables (`:'table'`), so the same file runs in psql; `questions` reads them,
`ask` is the only place that talks to the server. Every question has a transaction (a savepoint inside of somebody's)
that is read only, limited in time and rolled back, so nothing is held from one to the next. The table is found by the
role's search_path, which is then narrowed to pg_catalog.

No question may wait behind the lock that it is to find. So partitions come from `pg_inherits`; `pg_get_expr` is not
told the table, which it would open; sizes and index definitions are left out of what somebody holds ACCESS EXCLUSIVE.
In `who-blocks-whom` a waiter has an edge to the nearest of those ahead only: `pg_blocking_pids` gives n(n-1)/2 edges
in a queue of n.
"""

from zephyr_lab.runbook import report
from zephyr_lab.runbook.ask import Answer, Runbook
from zephyr_lab.runbook.questions import Question, as_written, question, questions
from zephyr_lab.runbook.wait_tree import WaitTree

__all__ = ["Answer", "Question", "Runbook", "WaitTree", "as_written", "question", "questions", "report"]
