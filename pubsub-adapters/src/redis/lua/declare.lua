-- Writes a channel's policy if there is none. KEYS: policy. ARGV: fields and values. Returns what was there before.
local known = redis.call('HGETALL', KEYS[1])
if #known == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return known
