-- SELECT FOR UPDATE that times itself: what a booking waits for the slot's row, by the server's clock, noted with it.
create table lock_waits (order_id uuid not null, waited interval not null);

create function lock_slot_timed(wanted uuid, first_start timestamptz, last_start timestamptz, price int)
returns table (id text, start_time timestamptz, booked int) language plpgsql as $$
declare
    began constant timestamptz := clock_timestamp();
begin
    return query
        select slots.id, slots.start_time, slots.booked from slots
        where slots.start_time between first_start and last_start and not is_disabled
          and slots.booked + price <= capacity
        order by slots.start_time limit 1
        for update;
    insert into lock_waits values (wanted, clock_timestamp() - began);
end $$;
