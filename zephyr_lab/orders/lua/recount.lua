-- Makes a slot's load the sum of its orders, both as Redis has them at this moment.
--   KEYS  hash of the day, hash of the slot
-- Gives {load before, load now}.
local before, now = tonumber(redis.call('HGET', KEYS[2], 'load') or 0), 0
for _, known in ipairs(redis.call('HVALS', KEYS[1])) do
    local price, key = string.match(known, '^(%d+) (%S+)')
    if key == KEYS[2] then now = now + tonumber(price) end
end
if now ~= before then redis.call('HSET', KEYS[2], 'load', now) end
return {before, now}
