-- locks
-- 42702: pid is in both tables.
-- With pg_locks.pid it misses the partitions, so the session that holds one ACCESS EXCLUSIVE is not listed, nor any queue
-- for a row. See locks.
SELECT 
    locktype,
    relation::regclass,
    mode,
    granted,
    pid,
    query
FROM pg_locks
JOIN pg_stat_activity ON pg_locks.pid = pg_stat_activity.pid
WHERE relation = 'orders'::regclass::oid;
