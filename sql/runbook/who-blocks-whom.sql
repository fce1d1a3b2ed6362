-- who-blocks-whom
-- Who waits, for whom, and on what; and the sessions at the root, which wait for nobody.
-- By pg_blocking_pids, which knows modes and queues and leaves out SIREAD locks, and by pg_safe_snapshot_blocking_pids
-- for READ ONLY DEFERRABLE transactions. `blockers` is everybody ahead in the queue, `waits_for` the nearest of them;
-- pid 0 is a prepared transaction. `depth` is the longest way to a root, and empty behind a deadlock. Each waiting session
-- is asked about in turn, so a busy server may show a wait that is over. Look by hand, not in a tight loop.
with recursive
locks as materialized (select * from pg_locks),
sessions as materialized (
    select pid, application_name, usename, state, wait_event, xact_start, query from pg_stat_activity
    where pid <> pg_backend_pid()
),
asked as materialized (
    select pid, pg_blocking_pids(pid) as blockers, false as for_snapshot
    from (select distinct pid from locks where not granted and pid is not null) as waiting
    union all
    select pid, pg_safe_snapshot_blocking_pids(pid), true from sessions
    where wait_event = 'SafeSnapshot' or state is null  -- hidden from this role
),
edges as materialized (select distinct pid, blocker from asked, unnest(blockers) as blocker),
-- In a queue everybody blocks all behind him: n * n edges. Of these one is needed, to the last one ahead, as far as that
-- one waits for the rest as well.
queues as materialized (
    select distinct on (pid) pid, waitstart, row (locktype, database, relation, page, tuple, virtualxid, transactionid,
                                                  classid, objid, objsubid)::text as what
    from locks where not granted
),
last_ahead as materialized (
    select distinct on (e.pid) e.pid, e.blocker
    from edges e join queues mine on mine.pid = e.pid join queues theirs on theirs.pid = e.blocker
    where theirs.what = mine.what
    order by e.pid, theirs.waitstart desc nulls first, e.blocker
),
sparse as materialized (
    select pid, blocker from edges
    except
    select ahead.pid, beyond.blocker from last_ahead ahead join edges beyond on beyond.pid = ahead.blocker
),
reach as (
    select pid, blocker from sparse
    union
    select reach.pid, sparse.blocker from reach join sparse on sparse.pid = reach.blocker
),
deadlocked as materialized (select pid from reach where pid = blocker),
-- And of what is left, no edge to somebody whom one reaches by another: unless the way is round a deadlock.
nearest as materialized (
    select pid, blocker from sparse
    except
    select closer.pid, beyond.blocker from sparse closer join reach beyond on beyond.pid = closer.blocker
    where closer.pid in (select pid from sparse group by pid having count(*) > 1)
      and (beyond.blocker, closer.blocker) not in (select pid, blocker from reach)
      and (closer.blocker, closer.pid) not in (select pid, blocker from reach)
),
depths as (
    select distinct blocker as pid, 0 as depth from edges where blocker not in (select pid from edges)
    union
    select nearest.pid, depths.depth + 1 from depths join nearest on nearest.blocker = depths.pid
    where nearest.pid not in (select pid from deadlocked)
),
everybody as (select pid from edges union select blocker from edges)
select (select max(depth) from depths where depths.pid = everybody.pid) as depth,
       everybody.pid,
       case when everybody.pid = 0 then 'a prepared transaction' else s.application_name end as session,
       s.usename as role,
       array(select blocker from nearest where nearest.pid = everybody.pid order by blocker) as waits_for,
       array(select blocker from edges where edges.pid = everybody.pid order by blocker) as blockers,
       everybody.pid in (select pid from deadlocked) as deadlock,
       case when asked.for_snapshot then 'safe snapshot' else wanted.locktype end as lock,
       wanted.mode,
       -- Whoever waits for a row's last writer holds the row's tuple lock meanwhile; it tells the table.
       (select relname from pg_class where oid = coalesce(wanted.relation, held.relation)) as relation,
       clock_timestamp() - wanted.waitstart as waiting,
       s.state, clock_timestamp() - s.xact_start as transaction_age, left(s.query, 500) as query
from everybody
left join sessions s on s.pid = everybody.pid
left join asked on asked.pid = everybody.pid and asked.blockers <> '{}'
left join lateral (
    select locktype, mode, waitstart,
           case when database = (select oid from pg_database where datname = current_database()) then relation end as relation
    from locks where locks.pid = everybody.pid and not granted limit 1) as wanted on true
left join lateral (
    select relation from locks where locks.pid = everybody.pid and granted and locktype = 'tuple'
       and database = (select oid from pg_database where datname = current_database()) limit 1) as held on true
order by depth nulls first, wanted.waitstart nulls first, s.xact_start, everybody.pid;
