-- As such a function is naturally written. It takes ACCESS EXCLUSIVE on orders, its bounds follow the session's time
-- zone, and it takes a date only: create_orders_partition(current_date + interval '1 month') is 42883.
create function create_orders_partition(day date) returns text language plpgsql as $$
declare
    name constant text := 'orders_' || to_char(day, 'YYYY_MM');
begin
    execute format('create table if not exists %I partition of orders for values from (%L) to (%L)',
                   name, date_trunc('month', day), date_trunc('month', day) + interval '1 month');
    return name;
end $$;
