-- Puts an order that PostgreSQL has into Redis, whether or not it fits, unless it is there.
--   KEYS  hash of the day, hash of the slot
--   ARGV  order id, price, unix time when the day is forgotten
-- Gives 1 if it was missing.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. KEYS[2] .. ' 0')
redis.call('HINCRBY', KEYS[2], 'load', ARGV[2])
redis.call('EXPIREAT', KEYS[1], ARGV[3])
redis.call('EXPIREAT', KEYS[2], ARGV[3])
return 1
