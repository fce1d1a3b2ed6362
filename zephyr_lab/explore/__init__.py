"""Which orders to run, and what their outcomes mean.

A transaction that was aborted or rolled back never was. The committed ones are run serially at the same level in
every order that keeps each session's own, and the outcome (what each was told, and all rows of all tables) is
compared. Equal to one: *prevented*, or *aborts 40001* if somebody was refused. Equal to none: *occurs*. What is open,
waits, differs when a serial order is run twice, or has more than 1,000 serial orders is *undecided*.

A search (`scheduler`) sees only which sessions could move, and says who is to. An `executor` sees no search and has
sessions take steps: those of a spec (`spec_executor`), or Python functions' (`functions.executor`). The `explorer`
stands between the two, judges every outcome and keeps only counts and the first schedule of each outcome. A replay that
lets other sessions move than the first time is an alarm, not a verdict. Serial outcomes are run once for each set of
committed transactions. A *false positive* is a 40001 at SERIALIZABLE whose schedule, run at REPEATABLE READ, commits
everything with a serial outcome.

`reduced` is told which next steps are local, and what each step did to others (`effect`): what it looked at, locked,
let go, published, and whom it woke. Independent steps could as well have come in the other order (sleep sets).
What a step may touch is read from its SQL (`statement`, by sqlglot; `calls`, by its words; `row_order`) and from the
catalogue (`schema`), by lists of what is known: of statements, functions, settings, defaults and checks, aggregates. A
lock on a table, an advisory lock, a sequence, a cursor meet everything. What is on no list may look at anything, such
as in which order two other sessions began: a program with one such step is run in all its orders. The linear extensions
of a schedule's dependences are the schedules that it represents, so counts of *all* orders are known without running
them; tests hold both against full searches.

`search` says in plain data which schedules are wanted. `parallel` cuts a search at a depth: each path that goes deeper
is picklable work for any `concurrent.futures` executor, and what is found is added up in the order of the search. Every
worker has a database of its own.
"""
