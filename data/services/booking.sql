-- What the booking services keep in PostgreSQL; money in whole roubles.
create table slots (
    id       text primary key,
    capacity int  not null default 100000,
    booked   int  not null default 0  -- where BOOKING keeps it in Redis, this stays 0
);

create table orders (
    id       text primary key,
    customer text not null,
    slot     text not null references slots,
    amount   int  not null check (amount > 0),
    status   text not null default 'pending' check (status in ('pending', 'cancelled'))
);

insert into slots (id) values ('slot:18'), ('slot:19');
