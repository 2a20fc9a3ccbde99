-- Keeps an event for later. KEYS: times, events, mark. ARGV: time in ms, stream, window in ms or 0, field, event, ...
if ARGV[3] ~= '0' then
  local known = redis.call('GET', KEYS[3])
  if known then return {1, known} end
  redis.call('SET', KEYS[3], 'later', 'PX', ARGV[3])
end
local number = redis.call('HINCRBY', KEYS[2], '#', 1)
redis.call('HSET', KEYS[2], number, cmsgpack.pack({ARGV[2], unpack(ARGV, 4)}))
redis.call('ZADD', KEYS[1], ARGV[1], number)
return {0, 'later'}
