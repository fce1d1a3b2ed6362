-- As documented: takes off what the caller has read before.
--   KEYS  slot:<id>, slot:<id>:orders, order:slot:<order>
--   ARGV  order id, price
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
