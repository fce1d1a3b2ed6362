-- counters
-- What the server has counted in this database: commits, rollbacks, deadlocks; and what it does not count.
-- No counter tells serialization failures apart: each is one rollback among others. How often an order was retried only
-- the client knows.
select datname as database, xact_commit as commits, xact_rollback as rollbacks,
       round(100.0 * xact_rollback / nullif(xact_commit + xact_rollback, 0), 2) as rollbacks_percent,
       deadlocks, conflicts as standby_conflicts, numbackends as sessions,
       sessions_abandoned + sessions_fatal + sessions_killed as sessions_lost,
       case when active_time > 0 then round((idle_in_transaction_time / active_time)::numeric, 2) end
           as idle_in_transaction_per_active,
       stats_reset as since
from pg_stat_database where datname = current_database();
