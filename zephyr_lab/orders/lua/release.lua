-- Takes an order's booking back, once. It is looked up here and not by the caller: between a caller's look and this
-- script somebody else may have released it.
--   KEYS     hash of the day, hash of the slot that the caller believes the order to be in
--   ARGV     order id
-- Gives the price that was given back: 0 if there is no such booking, -1 if it is in another slot.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known then return 0 end
local price, key = string.match(known, '^(%d+) (%S+)')
if key ~= KEYS[2] then return -1 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[2], 'load', -tonumber(price))
return tonumber(price)
