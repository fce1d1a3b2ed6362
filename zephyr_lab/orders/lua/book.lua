-- Books an order into the first of some slots that has room, once: a repetition is told the slot it has.
--   KEYS[1]  hash of the day: order id -> "<price> <key of its slot> <unix time of the order>"
--   KEYS[2]  epoch of the day
--   KEYS[3..] hash of a slot: load, capacity, disabled; all with the day's hash tag, so on one node of a cluster
--   ARGV     order id, price, unix time when the day is forgotten, unix time of the order
-- Gives {epoch, key of the slot, price}: no epoch where the day is not open here, no key where all are full.
local epoch = redis.call('GET', KEYS[2])
if not epoch then return {'', '', 0} end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
    local price, key = string.match(known, '^(%d+) (%S+)')
    return {epoch, key, tonumber(price)}
end
local price = tonumber(ARGV[2])
for i = 3, #KEYS do
    local slot = redis.call('HMGET', KEYS[i], 'load', 'capacity', 'disabled')
    -- A slot without a capacity is none of PostgreSQL's.
    if slot[2] and slot[3] ~= '1' and tonumber(slot[1] or 0) + price <= tonumber(slot[2]) then
        redis.call('HINCRBY', KEYS[i], 'load', price)
        redis.call('HSET', KEYS[1], ARGV[1], price .. ' ' .. KEYS[i] .. ' ' .. ARGV[4])
        redis.call('EXPIREAT', KEYS[i], ARGV[3])
        redis.call('EXPIREAT', KEYS[1], ARGV[3])
        return {epoch, KEYS[i], price}
    end
end
return {epoch, '', price}
