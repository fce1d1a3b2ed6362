"""Counterexamples as files for others: a spec, statements for windows of psql, a pytest test, a page.

A schedule that the lab has found is `recorded` as plain data: its setup as SQL (`beginning`), each round trip as a step
with its parameters filled in, and what came of it. `of_case` and `of_functions` record it; `spec_text`, `windows`,
`as_test` and `views.page` write it, each from the same data and without a server; `export` chooses among them by the
file's suffix. Functions are named in a test if they are `importable`.

Ids of sequences are those of the schedule, since the setup sets the sequences; values of chance and clocks are, where a
later statement names one, since defaults hand them out again (`handed_out`).

What such a file cannot hold is said in it, in the place where it came: commands of Redis, data of a COPY, and what
functions returned. Parameters are literals, so that a step repeats what the code wrote in this schedule, whatever it
reads now. That suffices: functions that read the same write the same, so if no serial order gives their outcome, no
serial order of their statements gives the same answers. Where it does not suffice, the `proof` says so: the spec is
parsed and run, as it is written, before anybody gets it.
"""
