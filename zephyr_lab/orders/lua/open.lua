-- Makes a day what PostgreSQL has: its slots, its orders and nothing else, under a new epoch.
--   KEYS[1]  hash of the day, as in book.lua
--   KEYS[2]  epoch of the day
--   KEYS[3..] hashes of its slots
--   ARGV     epoch, unix time when the day is forgotten; for each slot its capacity and whether it is disabled;
--            for each order its id, its price and the number of its slot
redis.call('DEL', unpack(KEYS))
local place = 3
for i = 3, #KEYS do
    redis.call('HSET', KEYS[i], 'capacity', ARGV[place], 'disabled', ARGV[place + 1])
    place = place + 2
end
for i = place, #ARGV, 3 do
    local key = KEYS[2 + tonumber(ARGV[i + 2])]
    redis.call('HINCRBY', key, 'load', ARGV[i + 1])
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. key .. ' 0')
end
redis.call('SET', KEYS[2], ARGV[1])
for _, key in ipairs(KEYS) do redis.call('EXPIREAT', key, ARGV[2]) end
