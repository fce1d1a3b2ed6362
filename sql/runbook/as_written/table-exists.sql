-- table-exists
-- information_schema shows only what a role has a privilege on.
-- It says "missing" for the very table that exists and is inaccessible. See table-exists.
SELECT EXISTS (
   SELECT FROM information_schema.tables 
   WHERE table_schema = 'public' 
   AND table_name = 'orders'
);
