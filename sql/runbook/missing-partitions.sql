-- missing-partitions
-- Has this month a partition, and have the months after it?
-- `months` says how many months after this one. Months begin in the session's time zone, which `zephyr-lab runbook` sets
-- to UTC. Partitions that are being detached do not count. Remedy: zephyr-lab partitions ensure --months 3
with parent as (
    select c.oid, c.relkind = 'p' as partitioned,
           pt.partstrat = 'r' and pt.partnatts = 1
               and a.atttypid in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) as by_time
    from pg_class c left join pg_partitioned_table pt on pt.partrelid = c.oid
    left join pg_attribute a on a.attrelid = c.oid and a.attnum = pt.partattrs[0]
    where c.oid = to_regclass(:'table')
),
bounds as (
    select c.relname, pg_get_expr(c.relpartbound, 0) as bound
    from pg_inherits i join pg_class c on c.oid = i.inhrelid join parent on parent.oid = i.inhparent
    where not i.inhdetachpending and parent.by_time
),
ranges as (
    select relname, tstzrange(ends[1]::timestamptz, ends[2]::timestamptz, '[)') as range
    from bounds, regexp_match(bound, $$FROM \((?:'([^']*)'|MINVALUE)\) TO \((?:'([^']*)'|MAXVALUE)\)$$) as ends
    where bound <> 'DEFAULT'
),
months as (
    select n as in_months, tstzrange(start, start + interval '1 month', '[)') as month
    from generate_series(0, :'months'::int) as n, date_trunc('month', now()) as this,
         lateral (select this + make_interval(months => n)) as begins (start)
),
gaps as (
    select months.*, tstzmultirange(month) - coalesce((select range_agg(range) from ranges), '{}') as gap,
           (select string_agg(relname, ', ' order by range) from ranges where range && month) as partitions
    from months
)
select to_char(lower(month), 'YYYY-MM') as month, in_months, partitions,
       case when not parent.partitioned or not parent.by_time then '{}' else gap end::text as gap,
       exists (select from bounds where bound = 'DEFAULT') as has_default,
       case when not parent.partitioned then 'not partitioned: one table takes every month'
            when not coalesce(parent.by_time, false) then 'cannot say: the partition key is not one date or time'
            when isempty(gap) then 'covered'
            when exists (select from bounds where bound = 'DEFAULT') then 'left to the DEFAULT partition'
            when partitions is null then 'missing: every INSERT fails with 23514'
            else 'partly missing: an INSERT into the gap fails with 23514' end as verdict
from gaps, parent
order by in_months;
