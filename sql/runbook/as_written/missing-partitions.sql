-- missing-partitions
-- Always empty, which reads as "all are missing".
-- relkind 'p' is the parent, and relpartbound is a node tree that never contains a month as text. See missing-partitions.
SELECT 
    tablename,
    pg_get_expr(c.relpartbound, c.oid) AS partition_constraint
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_tables t ON t.tablename = c.relname
WHERE c.relkind = 'p'
AND c.relname LIKE 'orders_%'
AND (c.relpartbound::text LIKE '%' || TO_CHAR(CURRENT_DATE, 'YYYY-MM') || '%'
     OR c.relpartbound::text LIKE '%' || TO_CHAR(CURRENT_DATE + INTERVAL '1 month', 'YYYY-MM') || '%')
ORDER BY c.relname;
