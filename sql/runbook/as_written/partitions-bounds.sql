-- partitions-bounds
-- Always empty: relkind 'p' is the parent, and the parent is not called orders_something.
-- Partitions are ordinary tables, relkind 'r' with relispartition. See partitions.
SELECT 
    n.nspname AS schema_name,
    c.relname AS partition_name,
    pg_get_expr(c.relpartbound, c.oid) AS partition_constraint
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'p'
AND c.relname LIKE 'orders_%'
ORDER BY c.relname;
