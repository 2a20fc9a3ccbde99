-- Moves events that are due to their streams. KEYS: times, events, streams. ARGV: the most to move.
-- Returns how many are left, and in how many ms the next one is due.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, number in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local packed = redis.call('HGET', KEYS[2], number)
  if packed then
    local event = cmsgpack.unpack(packed)
    redis.call('XADD', event[1], '*', unpack(event, 2))
  end
  redis.call('HDEL', KEYS[2], number)
  redis.call('ZREM', KEYS[1], number)
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #next == 0 then
  redis.call('DEL', KEYS[2])
  return {0, -1}
end
return {redis.call('ZCARD', KEYS[1]), math.max(0, tonumber(next[2]) - now)}
