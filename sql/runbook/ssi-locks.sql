-- ssi-locks
-- What SERIALIZABLE transactions have read, as SIREAD locks: by session and relation, from rows up to whole relations.
-- They block nobody; a write against one, and another edge, ends in 40001. A lock on a whole relation comes from a
-- sequential scan or from too many small ones, and refuses strangers. They outlive COMMIT while others overlap. That a session
-- has some is the only sign of its level that others can see.
with recursive tree as (
    select to_regclass(:'table')::oid as oid
    union all
    select i.inhrelid from pg_inherits i join tree on tree.oid = i.inhparent
),
locks as materialized (select * from pg_locks),
found as (
    select nullif(l.pid, 0) as pid, l.relation, l.locktype,
           exists (select from locks v where v.locktype = 'virtualxid' and v.virtualtransaction = l.virtualtransaction) as open
    from locks l
    where l.mode = 'SIReadLock' and l.database = (select oid from pg_database where datname = current_database())
)
select f.pid, a.application_name as session, a.usename as role,
       case when f.open then 'open' else 'committed, kept' end as transaction,
       c.relname as relation,
       coalesce(t.relname, c.relname) as "table",
       coalesce(i.indrelid, f.relation) in (select oid from tree) as in_tree,
       count(*) filter (where f.locktype = 'tuple') as tuples,
       count(*) filter (where f.locktype = 'page') as pages,
       bool_or(f.locktype = 'relation') as whole_relation
from found f left join pg_stat_activity a on a.pid = f.pid
left join pg_class c on c.oid = f.relation
left join pg_index i on i.indexrelid = f.relation left join pg_class t on t.oid = i.indrelid
group by f.pid, a.application_name, a.usename, f.open, f.relation, c.relname, t.relname, i.indrelid
order by f.pid, "table", c.relname;
