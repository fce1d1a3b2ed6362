-- partitions-size-of-all
-- The parent has no storage of its own, and `_` and `%` match other tables as well.
-- `orders` is 0 bytes, `orders2_archive` is taken for one of its partitions, and a name in capitals anywhere ends it with
-- 42P01, because the names are joined without quotes. See partitions.
SELECT 
    schemaname,
    tablename,
    pg_size_pretty(pg_total_relation_size(schemaname||'.'||tablename)) AS size
FROM pg_tables
WHERE tablename LIKE 'orders%'
ORDER BY tablename;
