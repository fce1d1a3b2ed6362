-- this-connection
-- Who asks, in what kind of transaction, and what that role cannot see.
-- Without superuser or pg_read_all_stats, sessions of other roles hide their state, query and age. Locks, and who waits
-- for whom, are shown to everybody.
with hidden as (
    select count(*) filter (where not pg_has_role(usesysid, 'usage')) as sessions, count(*) as all_sessions
    from pg_stat_activity
    where usesysid is not null and not pg_has_role('pg_read_all_stats', 'usage')
)
select subject, answer, remedy
from hidden, lateral (values
    (1, 'server', 'PostgreSQL ' || current_setting('server_version')
         || case when pg_is_in_recovery() then ', a standby: it has locks of its own only' else '' end, null),
    (2, 'database', current_database()::text, null),
    (3, 'role', current_user::text || case when current_setting('is_superuser') = 'on' then ', a superuser' else '' end,
         null),
    (4, 'search_path', array_to_string(:'path'::name[], ', '), null),
    (5, 'transaction', case when current_setting('transaction_read_only') = 'on' then 'read only' else 'read write' end
         || ', statement_timeout ' || current_setting('statement_timeout')
         || ', lock_timeout ' || current_setting('lock_timeout'), null),
    (6, 'sessions of other roles',
         case when hidden.sessions = 0 then 'shown'
              else hidden.sessions || ' of ' || hidden.all_sessions || ' hide state, query and age' end,
         case when hidden.sessions > 0 then format('grant pg_read_all_stats to %I', current_user) end),
    (7, 'configuration files',
         case when has_function_privilege('pg_show_all_file_settings()', 'execute')
                   and has_table_privilege('pg_file_settings', 'select') then 'shown' else 'hidden' end,
         case when not (has_function_privilege('pg_show_all_file_settings()', 'execute')
                        and has_table_privilege('pg_file_settings', 'select'))
              then format('grant execute on function pg_show_all_file_settings() to %1$I; '
                          'grant select on pg_file_settings to %1$I', current_user) end)
) as said (place, subject, answer, remedy)
order by place;
