-- Orders, one partition a month. 25 columns are written by INSERT, two more by what becomes of the order.
create table orders (
    id                     uuid        not null,
    display_id             text        not null,
    customer_id            int         not null,
    customer_first_name    text        not null default '',
    customer_last_name     text        not null default '',
    customer_phone         text        not null default '',
    delivery_address       text        not null default '',
    payment_method         text        not null default '',
    is_pickup              bool        not null default false,
    pickup_location_id     text        not null default '',
    call_before_minutes    int         not null default 0,
    items                  jsonb       not null,
    is_set                 bool        not null default false,
    set_name               text        not null default '',
    total_price            int         not null check (total_price > 0),  -- whole roubles, as all money here
    discount_amount        int         not null default 0,
    discount_percent       int         not null default 0,
    final_price            int         not null check (final_price > 0),
    notes                  text        not null default '',
    status                 text        not null default 'pending'
        check (status in ('pending', 'preparing', 'cooking', 'ready', 'delivered', 'cancelled', 'archived')),
    created_at             timestamptz not null,
    updated_at             timestamptz not null,
    target_slot_id         text        not null default '',
    target_slot_start_time timestamptz,
    visible_at             timestamptz,
    completed_at           timestamptz,
    cancelled_at           timestamptz,
    primary key (id, created_at)  -- a key of a partitioned table must hold the partition key: 0A000 without it
) partition by range (created_at);

create index idx_orders_status_created_at on orders (status, created_at);
create index idx_orders_target_slot_id on orders (target_slot_id);

create function touch_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end $$;

create trigger orders_touch_updated_at before update on orders for each row execute function touch_updated_at();
