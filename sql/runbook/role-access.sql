-- role-access
-- What the role can do with the table and with each partition, memberships, PUBLIC and superuser counted in.
-- `role` is the role that asks unless another one is named.
with recursive tree as (
    select to_regclass(:'table')::oid as oid, 0 as level
    union all
    select i.inhrelid, tree.level + 1 from pg_inherits i join tree on tree.oid = i.inhparent
),
access as (
    select tree.level, n.nspname, c.relname,
           has_schema_privilege(:'role'::name, n.oid, 'usage') as schema_usage,
           has_table_privilege(:'role'::name, c.oid, 'select') as "select",
           has_table_privilege(:'role'::name, c.oid, 'insert') as "insert",
           has_table_privilege(:'role'::name, c.oid, 'update') as "update",
           has_table_privilege(:'role'::name, c.oid, 'delete') as "delete"
    from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
),
missing as (
    select access.*, nullif(concat_ws(', ', case when not "select" then 'select' end, case when not "insert" then 'insert' end,
                                      case when not "update" then 'update' end, case when not "delete" then 'delete' end), '')
               as lacking
    from access
)
select m.relname as relation, :'role'::name as role, m.schema_usage, m."select", m."insert", m."update", m."delete",
       case when not m.schema_usage then format('nothing: grant usage on schema %I to %I', m.nspname, :'role'::name)
            when m.lacking is null then 'everything'
            when m.level > 0 and parent.lacking is null then 'only through the parent'
            else format('lacks %s: grant %1$s on %I.%I to %I', m.lacking, m.nspname, m.relname, :'role'::name) end as verdict
from missing m, (select lacking from missing where level = 0) as parent
order by m.level, m.relname;
