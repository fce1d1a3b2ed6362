"""Schedules: specs, the runner that executes them on a real server, and the transcript of what happened.

How a step is sent, and why the same schedule gives the same bytes:

- `channel` sends a step without waiting (libpq's asynchronous calls). A step is over when the server is *ready for
  the next query*: an error message arrives before the failed transaction's locks are released.
- `settling` then watches until every session has completed or waits for another one. `waiting` asks the server with
  `pg_isolation_test_session_is_blocked`, which looks at the lock manager and also sees safe-snapshot waits.
  `execution` records only the quiet state: the sent step, then the sessions it woke in the order of their steps.
- Sessions woken at once would race inside the server. On an embedded server the waiting ones are stopped (SIGSTOP)
while a step runs, and continued one by one; the supervisor continues them before it ends the server. On an external
server they race, and only the *record* is in order.
- A deadlock's victim is the session whose step closes the cycle. All sessions have long and different values of
`deadlock_timeout`; one that another waits for, and that could therefore close a cycle, gets a short one just
before its next step. A chosen victim gets a medium one and all others a very long one.
- A transcript holds no pids, clocks, ports or server sentences but notices. Autovacuum is off and the cases run
  ANALYZE, because plans decide what SERIALIZABLE locks. libpq's environment variables and a role's own settings do
  not reach the sessions.
- What steps could change is decided by their first words and the names that they call (`sql.tokens`).
- Every run begins with sessions reset by DISCARD ALL, and in a recreated schema; or, on an embedded server, if steps
change rows only and a trial succeeded, with restored rows (`reset`): in their order, before the server would prune a
page, in tables of unchanged size, and only while there is no other connection of the lab.

`hold` runs a schedule and keeps the sessions as they are, to inspect a blocked server.

`isolationtester` is another way through the same spec: it prints byte for byte what PostgreSQL's own program prints,
with sessions kept from permutation to permutation, and shares with the rest only the spec and the query for waits.
"""
