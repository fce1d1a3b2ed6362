-- Finds a slot with room, books it and saves the order, in one round trip. Gives the slot: null when all are full.
-- `is_new` is false for an order that is there already, which is not booked again.
create function create_order(
    wanted orders, digest text, first_start timestamptz, last_start timestamptz, out slot_id text, out is_new bool
) language plpgsql as $$
declare
    slot slots;
begin
    insert into order_ids (id, created_at, digest) values (wanted.id, wanted.created_at, digest)
    on conflict (id) do nothing;
    is_new := found;
    if not is_new then
        return;
    end if;
    select * into slot from slots
    where start_time between first_start and last_start and not is_disabled and booked + wanted.final_price <= capacity
    order by start_time limit 1
    for update;
    if not found then
        delete from order_ids where id = wanted.id;
        return;
    end if;
    update slots set booked = booked + wanted.final_price where id = slot.id;
    slot_id := slot.id;
    wanted.target_slot_id := slot.id;
    wanted.target_slot_start_time := slot.start_time;
    wanted.visible_at := case when slot.start_time - interval '30 minutes' > wanted.created_at
                              then slot.start_time - interval '30 minutes' else slot.start_time end;
    insert into orders values (wanted.*);
end $$;
