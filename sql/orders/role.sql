-- The role that the service and its admin page connect with. Roles belong to the whole server, not to a schema.
-- New partitions are covered by the default privileges, as far as they are made by the role that runs this.
do $$ begin
    if not exists (select from pg_roles where rolname = 'pizza_admin') then
        create role pizza_admin login;
    end if;
    execute format('grant usage on schema %I to pizza_admin', current_schema);
    execute format('grant select, insert, update, delete on all tables in schema %I to pizza_admin', current_schema);
    execute format('grant execute on all functions in schema %I to pizza_admin', current_schema);
    execute format('alter default privileges in schema %I grant select, insert, update, delete on tables to pizza_admin',
                   current_schema);
end $$;
