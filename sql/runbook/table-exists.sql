-- table-exists
-- Is the table there, is it found by its plain name, and may the role use it?
-- pg_class is readable by everybody; information_schema leaves out what a role has no privilege on, and answers
-- "missing" for the table that exists and is inaccessible. `path` is the session's schemas; in psql:
-- select current_schemas(true) as path \gset
with asked as (
    select ident[cardinality(ident)] as name,
           case when cardinality(ident) > 1 then ident[cardinality(ident) - 1] end as schema
    from parse_ident(:'table') as ident
),
found as (
    select n.oid as schema_oid, n.nspname, c.oid, c.relname, c.relkind, c.relowner, c.relrowsecurity,
           n.nspname = any (:'path'::name[]) as in_path
    from asked
    join pg_class c on lower(c.relname) = lower(asked.name) and c.relkind in ('r', 'p', 'v', 'm', 'f')
    join pg_namespace n on n.oid = c.relnamespace
)
select f.nspname as schema,
       coalesce(f.relname, asked.name) as "table",
       case f.relkind when 'p' then 'partitioned table' when 'r' then 'table' when 'v' then 'view'
                      when 'm' then 'materialized view' when 'f' then 'foreign table' end as kind,
       pg_get_userbyid(f.relowner) as owner,
       f.in_path as in_search_path,
       has_schema_privilege(:'role'::name, f.schema_oid, 'usage') as schema_usage,
       has_table_privilege(:'role'::name, f.oid, 'select') as "select",
       has_table_privilege(:'role'::name, f.oid, 'insert') as "insert",
       has_table_privilege(:'role'::name, f.oid, 'update') as "update",
       has_table_privilege(:'role'::name, f.oid, 'delete') as "delete",
       f.relrowsecurity as row_security,
       case when f.oid is null then format('missing: database %s has no table of this name', current_database())
            when f.relname <> asked.name then format('another name: write %s', quote_ident(f.relname))
            when f.nspname <> asked.schema then format('in another schema: write %I.%I', f.nspname, f.relname)
            when not has_schema_privilege(:'role'::name, f.schema_oid, 'usage')
                then format('exists, inaccessible: grant usage on schema %I to %I', f.nspname, :'role'::name)
            when asked.schema is null and not f.in_path
                then format('exists, but not in the search_path: write %I.%I', f.nspname, f.relname)
            when not has_table_privilege(:'role'::name, f.oid, 'select')
                then format('exists, inaccessible: grant select on %I.%I to %I', f.nspname, f.relname, :'role'::name)
            else 'exists' end as verdict
from asked left join found f on true
order by f.relname is distinct from asked.name, f.nspname is distinct from asked.schema, f.in_path desc, f.nspname;
