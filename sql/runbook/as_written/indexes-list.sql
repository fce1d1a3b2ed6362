-- indexes-list
-- The parent's definitions only.
-- It does not say whether every partition has the index, or whether it is valid. See indexes.
SELECT 
    indexname,
    indexdef
FROM pg_indexes
WHERE tablename = 'orders'
ORDER BY indexname;
