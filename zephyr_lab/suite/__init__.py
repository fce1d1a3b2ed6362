"""What a project's own test suite asks its database: recorded while it runs, and replayed as SQL to be hunted.

An operation is what one call of application code asks: all statements below the same activation of the outermost
function on the stack that is neither a library's nor a test's. `stack` finds it; `recorder` sees each round trip of
psycopg, and `levels` which transactions it belongs to, of which a suite's own, that is rolled back, is none. `rows`
reads what is there when an operation begins, on the connection that it uses, and `definitions` how the tables are made.
`operations` are plain data, and the same ones are joined; `replay` makes of each a function that sends its statements.

A replay repeats what was recorded, with its values: what the program would have decided otherwise is not known. So what
an operation reads before it writes is its outcome, beside the rows and how many of them each statement has changed.
"""
