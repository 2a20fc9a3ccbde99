-- Gives pending events back. KEYS: stream, due, failed. ARGV: group, consumer, then per event: id, deliveries that count, delay in
-- ms or -1 for at once and in order. Returns how many were still the consumer's.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local given = 0
for i = 3, #ARGV, 3 do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])
  if #p == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], 'parked', 0, ARGV[i], 'RETRYCOUNT', ARGV[i + 1], 'JUSTID')
    local delay = tonumber(ARGV[i + 2])
    if delay >= 0 then redis.call('HSETNX', KEYS[3], ARGV[i], now) end
    redis.call('ZADD', KEYS[2], delay < 0 and 0 or now + delay, ARGV[i])
    given = given + 1
  end
end
return given
