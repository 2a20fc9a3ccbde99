-- Deletes a group without members. KEYS: members, then per shard: stream, due, lock, failed. ARGV: group.
-- Returns 1 if it was deleted, 0 if there was none, -1 if it has members.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) > 0 then return -1 end
local found = 0
for i = 2, #KEYS, 4 do
  if redis.call('EXISTS', KEYS[i]) == 1 and redis.call('XGROUP', 'DESTROY', KEYS[i], ARGV[1]) == 1 then found = 1 end
  redis.call('DEL', KEYS[i + 1], KEYS[i + 2], KEYS[i + 3])
end
return found
