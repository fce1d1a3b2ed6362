-- isolation-level-database
-- The owner may, no superuser needed; and it reaches new sessions only.
-- The write-up says "requires superuser". Pooled connections keep the old level, and a driver that names a level
-- overrides it. See isolation-level.
ALTER DATABASE zephyrvpn SET default_transaction_isolation = 'serializable';
