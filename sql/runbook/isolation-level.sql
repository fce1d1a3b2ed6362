-- isolation-level
-- Which isolation level each of the five sources asks for, and which one wins.
-- Weakest first: server, database, role, session, transaction. `wins_in_new_session` is about a session that the role
-- opens now, if its driver asks for nothing; `wins_here` about this session. ALTER DATABASE and ALTER ROLE reach new
-- sessions only, so pooled connections keep what they had. The level of other sessions is not visible anywhere.
with here as (
    select setting, source, boot_val, current_setting('transaction_isolation') as now
    from pg_settings where name = 'default_transaction_isolation'
),
in_files as (
    -- A view that is for superusers would refuse the whole question, even in a branch that is not taken. So it is asked in
    -- a text of its own, by the one function that runs a text and is in every build: ts_stat gives words of tsvectors.
    select readable, case when readable then (
               select word from ts_stat($$select array_to_tsvector(array[setting]) from pg_catalog.pg_file_settings
                                         where name = 'default_transaction_isolation' and applied$$)) end as value
    from (select has_function_privilege('pg_show_all_file_settings()', 'execute')
                 and has_table_privilege('pg_file_settings', 'select') as readable) as files
),
stored as (
    select s.setdatabase, s.setrole, split_part(entry, '=', 2) as value
    from pg_db_role_setting s, unnest(s.setconfig) as entry
    where split_part(entry, '=', 1) = 'default_transaction_isolation'
      and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
      and s.setrole in (0, (select oid from pg_roles where rolname = :'role'::name))
),
sources as (
    select 1 as place, 'server' as source, 'built in' as set_by, boot_val as value, 'default' as named from here
    union all
    select 2, 'server', 'configuration file, ALTER SYSTEM or command line',
           case when here.source in ('configuration file', 'command line', 'environment variable') then setting
                else in_files.value end,
           case when here.source in ('command line', 'environment variable') then here.source else 'configuration file' end
    from here, in_files
    union all
    select 4, 'database', 'ALTER DATABASE ... SET',
           (select value from stored where setdatabase <> 0 and setrole = 0), 'database'
    union all
    select 3, 'role', 'ALTER ROLE ALL SET',
           (select value from stored where setdatabase = 0 and setrole = 0), 'global'
    union all
    select 5, 'role', 'ALTER ROLE ... SET', (select value from stored where setdatabase = 0 and setrole <> 0), 'user'
    union all
    select 6, 'role', 'ALTER ROLE ... IN DATABASE ... SET',
           (select value from stored where setdatabase <> 0 and setrole <> 0), 'database user'
    union all
    select 7, 'session', 'options of the connection (PGOPTIONS, driver)',
           case when source = 'client' then setting end, 'client' from here
    union all
    select 8, 'session', 'SET default_transaction_isolation, SET SESSION CHARACTERISTICS',
           case when source = 'session' then setting end, 'session' from here
    union all
    select 9, 'transaction', 'BEGIN ISOLATION LEVEL, SET TRANSACTION',
           case when now <> setting then now end, 'transaction' from here
)
select s.source, s.set_by, s.value,
       -- What the files say is hidden from this role, and the session has something stronger: then nobody knows.
       case when stored_or_file.place > 1 or in_files.readable
                 or here.source in ('default', 'configuration file', 'command line', 'environment variable')
            then s.place = stored_or_file.place end as wins_in_new_session,
       case when :'role'::name = session_user
            then s.named = case when here.now <> here.setting then 'transaction' else here.source end end as wins_here
from sources s, here, in_files, (select max(place) as place from sources where value is not null and place <= 6) as stored_or_file
order by s.place;
