-- The slots of a day, by the plan of its weekday. What is there already stays as it is. Gives how many are new.
create function plan_slots(day date) returns int language plpgsql as $$
declare
    made int;
begin
    insert into slots (id, start_time, end_time, planned_capacity)
    select 'slot:' || extract(epoch from s)::bigint, s, s + make_interval(mins => p.minutes), p.capacity
    from slot_plans p,
         generate_series((day + p.opens) at time zone 'UTC',
                         (day + p.closes) at time zone 'UTC' - make_interval(mins => p.minutes),
                         make_interval(mins => p.minutes)) as s
    where p.weekday = extract(isodow from day)
    on conflict (id) do nothing;
    get diagnostics made = row_count;
    return made;
end $$;
