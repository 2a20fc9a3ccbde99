-- Adds an event unless its id is known. KEYS: stream, mark. ARGV: window in ms, then the arguments of XADD.
local known = redis.call('GET', KEYS[2])
if known then return {1, known} end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 2))
redis.call('SET', KEYS[2], id, 'PX', ARGV[1])
return {0, id}
