"""SQL as text: the one place that says where a statement ends and what kind it is. No server, no driver, no parser.

`tokens` cuts a message into tokens and statements by PostgreSQL's rules. What needs a schema, or a tree of the
statement, is for `explore`.
"""
