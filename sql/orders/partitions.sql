-- The partition of a month, beside running traffic: made apart and attached, which takes SHARE UPDATE EXCLUSIVE on
-- orders, where CREATE TABLE ... PARTITION OF takes ACCESS EXCLUSIVE and queues every INSERT behind itself and behind
-- any report that has merely read orders. Bounds are UTC's, whatever the session's time zone. Gives the name.
create function create_orders_partition(day date) returns text language plpgsql as $$
declare
    month_start constant timestamptz := date_trunc('month', day::timestamp) at time zone 'UTC';
    month_end   constant timestamptz := (date_trunc('month', day::timestamp) + interval '1 month') at time zone 'UTC';
    name        constant text := 'orders_' || to_char(day, 'YYYY_MM');
begin
    perform pg_advisory_xact_lock(hashtextextended('create_orders_partition', 0));
    if exists (select from pg_inherits where inhparent = 'orders'::regclass and inhrelid = to_regclass(name)) then
        return name;
    end if;
    execute format('create table %I (like orders including defaults including constraints)', name);
    -- The check tells ATTACH what it would scan for.
    execute format('alter table %I add constraint bounds check (created_at >= %L and created_at < %L)',
                   name, month_start, month_end);
    execute format('alter table orders attach partition %I for values from (%L) to (%L)', name, month_start, month_end);
    execute format('alter table %I drop constraint bounds', name);
    if exists (select from pg_roles where rolname = 'pizza_admin')
       and has_table_privilege('pizza_admin', 'orders', 'select') then
        execute format('grant select, insert, update, delete on %I to pizza_admin', name);
    end if;
    return name;
end $$;

-- `current_date + interval '1 month'` is a timestamp, and PostgreSQL casts none down to a date by itself: 42883.
create function create_orders_partition(moment timestamp) returns text language sql
    as $$ select create_orders_partition(moment::date) $$;

-- An instant belongs to the month that it is in UTC.
create function create_orders_partition(moment timestamptz) returns text language sql
    as $$ select create_orders_partition((moment at time zone 'UTC')::date) $$;

-- This month's partition and those of the `months` after it. Gives the names of those that were missing.
create function ensure_orders_partitions(months int, moment timestamptz default now()) returns setof text
language plpgsql as $$
declare
    first constant date := date_trunc('month', moment at time zone 'UTC');
    name  text;
begin
    if months < 0 then
        raise exception 'months must be 0 or more, not %', months using errcode = '22023';
    end if;
    -- Two at once: the second looks when the first is done.
    perform pg_advisory_xact_lock(hashtextextended('create_orders_partition', 0));
    for i in 0 .. months loop
        name := 'orders_' || to_char(first + make_interval(months => i), 'YYYY_MM');
        if not exists (select from pg_inherits where inhparent = 'orders'::regclass and inhrelid = to_regclass(name)) then
            return next create_orders_partition((first + make_interval(months => i))::date);
        end if;
    end loop;
end $$;
