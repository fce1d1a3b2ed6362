-- partitions
-- The whole partition tree, with bounds and sizes.
-- By pg_inherits, which needs no lock: pg_partition_tree() waits behind an ACCESS EXCLUSIVE lock on a partition, and so
-- does pg_get_expr(relpartbound, oid), which opens the table that it is given, and every size. `size` is empty for what
-- somebody holds, or waits for, in that mode; `locked` says so.
with recursive tree as (
    select to_regclass(:'table')::oid as oid, null::oid as parent, 0 as level, false as detaching
    union all
    select i.inhrelid, i.inhparent, tree.level + 1, i.inhdetachpending
    from pg_inherits i join tree on tree.oid = i.inhparent
),
locked as materialized (
    select distinct relation from pg_locks
    where mode = 'AccessExclusiveLock' and relation is not null
      and database = (select oid from pg_database where datname = current_database())
),
parts as (
    select tree.level, tree.detaching, c.oid, n.nspname, c.relname, c.relkind, c.reltuples, p.relname as parent,
           pg_get_expr(c.relpartbound, 0) as bound,
           exists (select from locked where locked.relation in (c.oid, c.reltoastrelid)
                      or locked.relation in (select indexrelid from pg_index where indrelid = c.oid)) as locked
    from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
    left join pg_class p on p.oid = tree.parent
)
select level, nspname as schema, relname as relation, parent,
       case relkind when 'p' then 'partitioned' when 'f' then 'foreign' else 'leaf' end as kind,
       bound, bound = 'DEFAULT' as is_default, detaching,
       case when relkind <> 'p' then nullif(reltuples, -1)::bigint end as estimated_rows,
       locked,
       case when relkind not in ('p', 'f') and not locked then pg_total_relation_size(oid) end as bytes,
       case when relkind not in ('p', 'f') and not locked then pg_size_pretty(pg_total_relation_size(oid)) end as size
from parts
order by level, bound = 'DEFAULT', relname;
