"""Read, then write back, at REPEATABLE READ; whoever is refused with 40001 runs again, five times in all.

Guarantees: no slot above capacity, since two writers of one row cannot both have read it (first updater wins). At
READ COMMITTED it is the lost update, and the retry never comes into play.
Costs: on a hot slot most attempts fail, and an order may be given up although there is room.
"""

from psycopg import IsolationLevel

from zephyr_lab.orders import retry
from zephyr_lab.orders.strategies.base import Strategy
from zephyr_lab.orders.strategies.read_then_write import book

STRATEGY = Strategy("repeatable-read-retry", book, isolation=IsolationLevel.REPEATABLE_READ, retry=retry.SAVE)
