"""SQL as text: the one place that says where a statement ends and what kind it is. No server, no driver, no parser.

`tokens` cuts a message into tokens and statements by PostgreSQL's rules; `classify` says of each statement whether it
begins or ends a transaction, sets a level, takes a snapshot, locks, reads, changes, or touches nobody else. What is not
understood is UNKNOWN, and that is never local. What needs a schema, or a tree of the statement, is for `explore`.
"""
