"""Read, then write back, at SERIALIZABLE, with the write-up's retry: its recipe, for slots that are in PostgreSQL.

Guarantees: no slot above capacity, and any other rule too that holds when transactions run one after another. At
READ COMMITTED it is the lost update, and the retry never comes into play.
Costs: as REPEATABLE READ, and refusals of transactions that did not meet, where a plan scans the whole table.
"""

from psycopg import IsolationLevel

from zephyr_lab.orders import retry
from zephyr_lab.orders.strategies.base import Strategy
from zephyr_lab.orders.strategies.read_then_write import book

STRATEGY = Strategy("serializable-retry", book, isolation=IsolationLevel.SERIALIZABLE, retry=retry.SAVE)
