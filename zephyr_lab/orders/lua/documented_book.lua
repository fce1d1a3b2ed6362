-- As documented: checks and books in one go. It does not look whether the order is booked already, and builds two of
-- its keys itself, which a cluster cannot route.
--   KEYS  slot:<id>, slot:<id>:info
--   ARGV  order id, price, capacity, slot id, seconds to live
-- Gives {1, new load}, or {0, load} where it does not fit.
local load = tonumber(redis.call('GET', KEYS[1]) or '0')
local price = tonumber(ARGV[2])
if load + price > tonumber(ARGV[3]) then return {0, load} end
load = redis.call('INCRBY', KEYS[1], price)
redis.call('HSET', KEYS[2], 'last_order', ARGV[1])
redis.call('SADD', KEYS[1] .. ':orders', ARGV[1])
redis.call('HSET', 'order:slot:' .. ARGV[1], 'slot_id', ARGV[4], 'price', price)
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('EXPIRE', KEYS[1] .. ':orders', ARGV[5])
redis.call('EXPIRE', 'order:slot:' .. ARGV[1], ARGV[5])
return {1, load}
