-- permissions-grant
-- Covers the tables that are there now; next month's partition is not.
-- Access through the parent goes on working; SELECT on the new partition itself is 42501. See permissions.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO pizza_admin;
