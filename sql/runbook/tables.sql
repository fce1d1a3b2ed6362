-- tables
-- Every table and view of the database, partitions counted under their parent.
-- Rows are estimates, as of the last ANALYZE or VACUUM.
with recursive below as (
    select i.inhparent as top, i.inhrelid as oid
    from pg_inherits i join pg_class c on c.oid = i.inhparent
    where c.relkind = 'p' and not c.relispartition
    union all
    select below.top, i.inhrelid from pg_inherits i join below on below.oid = i.inhparent
),
parts as (
    select below.top, count(*) as partitions, sum(greatest(c.reltuples, 0)) as rows
    from below join pg_class c on c.oid = below.oid where c.relkind <> 'p' group by below.top
)
select n.nspname as schema, c.relname as "table",
       case c.relkind when 'p' then 'partitioned table' when 'r' then 'table' when 'v' then 'view'
                      when 'm' then 'materialized view' when 'f' then 'foreign table' end as kind,
       pg_get_userbyid(c.relowner) as owner,
       case when c.relkind = 'p' then coalesce(parts.partitions, 0) end as partitions,
       case when c.relkind in ('r', 'm') then nullif(c.reltuples, -1)::bigint
            when c.relkind = 'p' then coalesce(parts.rows, 0)::bigint end as estimated_rows,
       has_schema_privilege(:'role'::name, n.oid, 'usage')
           and has_table_privilege(:'role'::name, c.oid, 'select') as "select"
from pg_class c join pg_namespace n on n.oid = c.relnamespace left join parts on parts.top = c.oid
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
order by n.nspname, c.relname;
