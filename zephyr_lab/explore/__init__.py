"""Searches over schedules, and verdicts on their outcomes.

Transactions that were aborted or rolled back are ignored. The committed ones are run serially at the same level in
every order that keeps each session's own, and the outcomes (all results, and all rows of all tables) are compared.
Equal to one: *prevented*, or *aborts 40001* if a session was refused. Equal to none: *occurs*. If a transaction is open
or waits, a serial order run twice differs, or there are more than 1,000 serial orders, it is *undecided*.

A search (`scheduler`) sees only which sessions are runnable, and chooses the next one. An `executor` knows no search
and makes sessions take steps: of a spec (`spec_executor`), or of Python functions (`functions.executor`). The
`explorer` connects the two, judges every outcome and keeps only counts and the first schedule of each outcome. A replay
in which other sessions are runnable than before is an error, not a verdict. Serial outcomes are run once for each set
of committed transactions. A *false positive* is a 40001 at SERIALIZABLE whose schedule, run at REPEATABLE READ,
commits everything with a serial outcome.

`reduced` knows which next steps are local, and each step's effect (`effect`): the rows it read, locked, released and
published, and the sessions it woke. Independent steps commute, so one order is enough (sleep sets). What a step may
touch is derived from its SQL (`statement`, by sqlglot; `calls`, by its words; `row_order`) and from the catalogue
(`schema`), by lists of what is known: of statements, functions, settings, defaults and checks, aggregates. A lock on a
table, an advisory lock, a sequence, a cursor depend on everything. What is on no list may observe anything, such as the
order in which two other sessions began: a program with one such step is run in all its orders. A schedule represents
the linear extensions of its dependence order, so counts of *all* schedules are known without running them; tests
compare both with full searches.

`selection` describes in plain data which schedules to run. Between two schedules a search is plain data, too: what is
left of it. `parallel` has it done by the workers of any `concurrent.futures` executor, in slices of a second: what is
left of a slice goes on with whoever is free, divided near the root while anybody is idle. `pieces` adds results up in
the order of the search, so that they do not depend on cuts; `checkpoint` keeps them in a file. Every worker has a
database of its own.
"""
