-- missing-partitions-create-next
-- 42883: a date plus an interval is a timestamp, and no cast takes it down to a date by itself.
-- Unless the function was repaired to take a timestamp too, as the lab's is.
SELECT create_orders_partition(CURRENT_DATE + INTERVAL '1 month');
