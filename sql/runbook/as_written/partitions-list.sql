-- partitions-list
-- Partitions by name: right by luck.
-- `_` matches any character, so `orders2_archive` is one of them; a partition with another name is none. Waits behind
-- ACCESS EXCLUSIVE on any of them. See partitions.
SELECT 
    schemaname,
    tablename,
    pg_size_pretty(pg_total_relation_size(schemaname||'.'||tablename)) AS size
FROM pg_tables
WHERE tablename LIKE 'orders_%'
ORDER BY tablename;
