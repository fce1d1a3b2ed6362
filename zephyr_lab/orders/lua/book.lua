-- Books an order into the first of some slots that has room, once: a repetition is told the slot it has.
--   KEYS[1]  hash of the day: order id -> "<price> <key of its slot> <unix time of the order>"
--   KEYS[2..] hash of a slot: load, capacity, disabled; all with the day's hash tag, so on one node of a cluster
--   ARGV     order id, price, capacity of a slot that has none of its own, unix time when the day is forgotten,
--            unix time of the order
-- Gives {number of the slot in KEYS, price, 1 if new}; number 0: all are full.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
    local price, key = string.match(known, '^(%d+) (%S+)')
    for i = 2, #KEYS do
        if KEYS[i] == key then return {i - 1, tonumber(price), 0} end
    end
    return {-1, tonumber(price), 0}  -- booked in a slot that is not asked for any more
end
local price = tonumber(ARGV[2])
for i = 2, #KEYS do
    local slot = redis.call('HMGET', KEYS[i], 'load', 'capacity', 'disabled')
    if slot[3] ~= '1' and tonumber(slot[1] or 0) + price <= tonumber(slot[2] or ARGV[3]) then
        redis.call('HINCRBY', KEYS[i], 'load', price)
        redis.call('HSET', KEYS[1], ARGV[1], price .. ' ' .. KEYS[i] .. ' ' .. ARGV[5])
        redis.call('EXPIREAT', KEYS[i], ARGV[4])
        redis.call('EXPIREAT', KEYS[1], ARGV[4])
        return {i - 1, price, 1}
    end
end
return {0, price, 0}
