-- The write-up's statement, word for word but for its parameters' form. On the partitioned table: 42P10.
insert into orders (
    id, display_id, customer_id, customer_first_name, customer_last_name,
    customer_phone, delivery_address, payment_method, is_pickup, pickup_location_id,
    call_before_minutes, items, is_set, set_name, total_price, discount_amount,
    discount_percent, final_price, notes, status, created_at, updated_at,
    target_slot_id, target_slot_start_time, visible_at
) values (
    %(id)s, %(display_id)s, %(customer_id)s, %(customer_first_name)s, %(customer_last_name)s,
    %(customer_phone)s, %(delivery_address)s, %(payment_method)s, %(is_pickup)s, %(pickup_location_id)s,
    %(call_before_minutes)s, %(items)s, %(is_set)s, %(set_name)s, %(total_price)s, %(discount_amount)s,
    %(discount_percent)s, %(final_price)s, %(notes)s, %(status)s, %(created_at)s, %(updated_at)s,
    %(target_slot_id)s, %(target_slot_start_time)s, %(visible_at)s
)
on conflict (id) do update set
    status = excluded.status,
    updated_at = now(),
    completed_at = case when excluded.status = 'delivered' then now() else orders.completed_at end,
    cancelled_at = case when excluded.status = 'cancelled' then now() else orders.cancelled_at end
