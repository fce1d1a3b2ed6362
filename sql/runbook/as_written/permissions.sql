-- permissions
-- Shows the asking role's own grants, and the owner's and superuser's view of others; partitions not at all.
-- "No rows" can mean no grant, no table, or no right to see. See permissions and role-access.
SELECT 
    grantee,
    privilege_type
FROM information_schema.role_table_grants
WHERE table_schema = 'public'
AND table_name = 'orders';
