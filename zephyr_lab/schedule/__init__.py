"""Schedules: what is to be run, the runner that makes it happen on a real server, and the record of what happened.

How a step is sent, and why the same schedule gives the same bytes:

- `channel` sends a step without waiting (libpq's asynchronous calls). A step is over when the server is *ready for
  the next query*: an error message arrives before the failed transaction's locks are released.
- `settling` then looks on until every session has answered or waits for another one. `waiting` asks the server with
  `pg_isolation_test_session_is_blocked`, which looks at the lock manager and also sees safe-snapshot waits.
  `execution` records only the quiet state: the sent step, then the sessions it woke in the order in which they had
  been sent.
- Sessions woken at once would race inside the server. On a server of our own the waiting ones are stopped (SIGSTOP)
  while a step is carried out, and let go one by one; the supervisor lets them go on before it ends the server. On
  somebody else's server they race, and only the *record* is in order.
- A deadlock's victim is the session whose step closes the cycle. All sessions have a long `deadlock_timeout`, each
  another one; a session that some other one waits for, and that could therefore close a cycle, gets a short one just
  before it is sent on. A chosen victim gets a middling one and all others a very long one.
- A transcript holds no pids, clocks, ports or server sentences but notices. Autovacuum is off and the cases run
  ANALYZE, because plans decide what SERIALIZABLE locks. libpq's environment variables and a role's own settings do
  not reach the sessions.
- What steps could change is told by what their statements begin with and which names they call (`sql.tokens`).
- Every run begins with sessions reset by DISCARD ALL, and in a schema made anew; or, on a server of our own and where
  steps change rows only and putting them back has been tried, with the rows put back (`reset`): in their order,
  before the server would prune a page, in tables of unchanged size, and only while nobody else has a connection of
  the lab's.

`hold` carries out a schedule and keeps the sessions as they are, for whoever wants to look at a blocked server.

`isolationtester` is another way through the same spec: it prints byte for byte what PostgreSQL's own program prints,
sessions living on from permutation to permutation, and shares with the rest only the spec and the question who waits.
"""
