-- The epoch under which a day is open here; nothing where it is not, or where this server was started since.
--   KEYS  epoch of the day
local epoch, server = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+)$')
if not epoch or server ~= string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') then return '' end
return epoch
