"""SQL as text: the one place that splits and classifies statements. No server, no driver, no parser.

`tokens` splits a message into tokens and statements by PostgreSQL's rules; `classify` determines whether a statement
begins or ends a transaction, sets a level, takes a snapshot, locks, reads, changes, or is local. What is not understood
is UNKNOWN, which is never local. Whatever needs a schema, or a syntax tree, is for `explore`.
"""
