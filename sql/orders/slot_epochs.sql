-- Under which epoch a day is open in Redis. An order is saved only in a place of this epoch: of what Redis had given away
-- before it lost its data, nothing is sold.
create table slot_epochs (
    day   date primary key,
    epoch uuid not null default gen_random_uuid()
);
