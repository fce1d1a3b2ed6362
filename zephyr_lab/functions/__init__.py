"""Ordinary Python functions as sessions: what `Lab.explore` explores.

Each function runs in a thread of its own, which parks (`turn`) before every round trip until it is resumed: psycopg
connections in `wait` (`postgres`), redis-py in `send_packed_command` (`keyvalue`), whichever client the thread uses
(`interception`, which also skips sleeps and replaces connections that a function opens by the session's own).
`execution` follows them with the same watch (`settling`) as steps; `executor` runs schedules for the explorer that
specs use, too; what a function returned takes the place of a transaction's results. `explorer` chooses the search;
`reproducible` compares two runs of one schedule. Statements that no other session can notice (BEGIN, SAVEPOINT, SET)
take no turn. `surrogates` are values filled in by a sequence, a clock or chance. `setup` creates the state in which a
schedule begins; `remains` (PostgreSQL) and `content` (Redis) are what it leaves beside the rows of the schema's
tables, and `outside` names what is not compared. Many schedules are reduced (`effects`), by tables: the statements of
a function are known only when it parks.
"""
