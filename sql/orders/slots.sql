-- When slots are open (UTC), and how many roubles one takes. A slot's own override wins over the plan.
create table slot_plans (
    weekday  int  primary key check (weekday between 1 and 7),  -- ISO: Monday is 1
    opens    time not null,
    closes   time not null check (closes > opens),
    minutes  int  not null default 15 check (minutes > 0),
    capacity int  not null default 100000 check (capacity >= 0)
);

create table slots (
    id                text        primary key,  -- 'slot:<unix start>'
    start_time        timestamptz not null unique,
    end_time          timestamptz not null,
    booked            int         not null default 0,
    planned_capacity  int         not null default 100000,
    capacity_override int,
    capacity          int         generated always as (coalesce(capacity_override, planned_capacity)) stored,
    is_disabled       bool        not null default false,
    version           int         not null default 0
);

-- Every booking of a slot by its number, for the strategy that lets a unique key decide.
create table slot_ledger (
    slot_id  text not null,
    seq      int  not null,
    order_id uuid not null,
    price    int  not null,
    load     int  not null,  -- after this booking
    primary key (slot_id, seq)
);

-- Which order has which place, where slots are assigned apart from saving orders.
create table slot_bookings (
    order_id uuid primary key,
    slot_id  text not null,
    price    int  not null
);
