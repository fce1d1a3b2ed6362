-- long-transactions
-- Transactions that are open for long, prepared ones too: they hold locks, and keep vacuum from cleaning up.
-- `older_than` says how long. `idle` is the time since the session's last statement ended, with the transaction open.
-- Without pg_read_all_stats the transactions of other roles are missing here (see this-connection).
select a.pid, a.application_name as session, a.usename as role, a.datname as database, a.state,
       statement_timestamp() - a.xact_start as transaction_age,
       case when a.state like 'idle in transaction%' then statement_timestamp() - a.state_change end as idle,
       a.backend_xid is not null as has_written,
       age(a.backend_xmin) as holds_back_vacuum_by,
       (select count(*) from pg_locks l where l.pid = a.pid and l.locktype <> 'virtualxid' and l.mode <> 'SIReadLock') as locks,
       a.wait_event_type, a.wait_event, left(a.query, 500) as query
from pg_stat_activity a
where a.xact_start is not null and a.pid <> pg_backend_pid()
  and statement_timestamp() - a.xact_start >= :'older_than'::interval
union all
select null, 'a prepared transaction: ' || gid, owner, database, 'prepared', statement_timestamp() - prepared, null, true,
       age(transaction), null, null, null, null
from pg_prepared_xacts
where statement_timestamp() - prepared >= :'older_than'::interval
order by transaction_age desc, pid;
