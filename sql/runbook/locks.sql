-- locks
-- Every lock on the table, on its whole partition tree and on their indexes, and what its holders wait for.
-- Whoever waits for a row waits for a transaction, not for a relation: those waits are shown too, for sessions that
-- hold a lock of the tree. The tree is read from pg_inherits, which waits behind nobody. SIREAD locks block nobody: see
-- ssi-locks.
with recursive tree as (
    select to_regclass(:'table')::oid as oid
    union all
    select i.inhrelid from pg_inherits i join tree on tree.oid = i.inhparent
),
relations as (
    select oid from tree
    union all select reltoastrelid from pg_class where oid in (select oid from tree) and reltoastrelid <> 0
    union all select indexrelid from pg_index where indrelid in (select oid from tree)
),
locks as materialized (
    select * from pg_locks where mode <> 'SIReadLock' and pid is distinct from pg_backend_pid()
),
ours as (
    select * from locks
    where database = (select oid from pg_database where datname = current_database())
      and relation in (select oid from relations)
)
select l.pid, case when l.pid is null then 'a prepared transaction' else a.application_name end as session,
       a.usename as role, l.locktype as lock, c.relname as relation, l.page, l.tuple, l.mode, l.granted,
       clock_timestamp() - l.waitstart as waiting, a.state, clock_timestamp() - a.xact_start as transaction_age,
       left(a.query, 500) as query
from (select * from ours
      union all
      select * from locks where not granted and relation is null and pid in (select pid from ours)) as l
left join pg_stat_activity a on a.pid = l.pid
left join pg_class c on c.oid = l.relation
order by l.granted, l.waitstart nulls last, l.pid, c.relname, l.mode;
