-- indexes-use
-- 42703: the columns are called relname and indexrelname.
-- Under their right names it would be empty: statistics are kept for the partitions' indexes. See indexes.
SELECT 
    schemaname,
    tablename,
    indexname,
    idx_scan,
    idx_tup_read,
    idx_tup_fetch
FROM pg_stat_user_indexes
WHERE tablename = 'orders'
ORDER BY idx_scan DESC;
