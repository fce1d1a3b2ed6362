"""Questions asked of a live database during an incident, answered as tables; read-only.

    with psycopg.connect(dsn, autocommit=True) as connection:
        runbook = Runbook(connection, table="orders")
        runbook.ask("missing-partitions")
        WaitTree.of(runbook.ask("who-blocks-whom"))

The questions are files in sql/runbook, one a question, that psql runs as well. Beside them, in as_written, is what the
write-up asked instead.
"""

from zephyr_lab.runbook import report
from zephyr_lab.runbook.ask import Runbook
from zephyr_lab.runbook.questions import Question, as_written, question, questions
from zephyr_lab.runbook.wait_tree import WaitTree

__all__ = ["Question", "Runbook", "WaitTree", "as_written", "question", "questions", "report"]
