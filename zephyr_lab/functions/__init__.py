"""Ordinary Python functions as sessions: what `Lab.explore` explores.

`functions` makes sessions of ordinary Python functions. Each runs in a thread of its own, which parks (`turn`) before a
round trip until it is let go: psycopg connections in `wait` (`postgres`), redis-py in `send_packed_command`
(`keyvalue`), whichever client a thread of a session uses (`interception`, which also skips sleeps and gives the
session's own connection to whoever opens one). `execution` follows them with the same watch (`settling`) as steps;
`executor` carries schedules out for the same explorer as that of specs; what a function returned takes the place of
what a transaction was told. `explorer` chooses the search; `reproducible` compares two runs of one schedule. What
nobody else can notice (BEGIN, SAVEPOINT, SET) takes no turn. `surrogates` are columns that a sequence or a clock fills
in. `setup` makes what a schedule begins with; `remains` (PostgreSQL) and `content` (Redis) are what it leaves beside
the rows of the schema's tables, and `outside` names what nobody compares. Where there are many orders they are reduced
(`effects`), by tables, since what a function will say is known only when it parks.
"""
