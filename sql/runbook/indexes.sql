-- indexes
-- The indexes of the table, on which partitions each is missing, and their use summed over the partitions.
-- The parent's index is only a definition: scans are counted on the partitions' indexes. Counts are since the
-- statistics were last reset (see counters). `bytes` leaves out an index that somebody holds ACCESS EXCLUSIVE, and
-- `definition` is empty where somebody holds its table so: pg_get_indexdef opens the table.
with recursive tree as (
    select to_regclass(:'table')::oid as oid
    union all
    select i.inhrelid from pg_inherits i join tree on tree.oid = i.inhparent
),
leaves as (select c.oid, c.relname from tree join pg_class c on c.oid = tree.oid where c.relkind <> 'p'),
locked as materialized (
    select distinct relation from pg_locks
    where mode = 'AccessExclusiveLock' and relation is not null
      and database = (select oid from pg_database where datname = current_database())
),
members as (
    select coalesce(pg_partition_root(i.indexrelid)::oid, i.indexrelid) as root, i.indexrelid, i.indrelid, i.indisvalid,
           s.idx_scan, s.idx_tup_read, s.idx_tup_fetch,
           case when i.indexrelid not in (select relation from locked) then pg_relation_size(i.indexrelid) end as bytes
    from pg_index i join leaves on leaves.oid = i.indrelid
    left join pg_stat_user_indexes s on s.indexrelid = i.indexrelid
),
roots as (
    select indexrelid as root from pg_index where indrelid = to_regclass(:'table') union select root from members
)
select c.relname as index, t.relname as "on",
       i.indisunique as "unique", i.indisprimary as "primary",
       i.indisvalid and coalesce(bool_and(m.indisvalid), true) as valid,
       count(m.indexrelid) as partitions,
       case when i.indrelid = to_regclass(:'table') then (
           select string_agg(leaves.relname, ', ' order by leaves.relname) from leaves
           where leaves.oid not in (select indrelid from members where members.root = roots.root)) end as missing_on,
       coalesce(sum(m.idx_scan), 0)::bigint as scans,
       coalesce(sum(m.idx_tup_read), 0)::bigint as entries_read,
       coalesce(sum(m.idx_tup_fetch), 0)::bigint as rows_fetched,
       sum(m.bytes)::bigint as bytes,
       case when i.indrelid not in (select relation from locked) then pg_get_indexdef(roots.root) end as definition
from roots join pg_index i on i.indexrelid = roots.root
join pg_class c on c.oid = roots.root join pg_class t on t.oid = i.indrelid
left join members m on m.root = roots.root
group by roots.root, c.relname, t.relname, i.indrelid, i.indisunique, i.indisprimary, i.indisvalid
order by t.relname, c.relname;
