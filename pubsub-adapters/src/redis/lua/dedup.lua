-- Adds an event unless its id is known. KEYS: stream, mark. ARGV: window in ms, then the arguments of XADD.
-- Returns {0, id}, {1, id of the first one}, or {2, ''} where the stream must exist and does not.
local known = redis.call('GET', KEYS[2])
if known then return {1, known} end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 2))
if not id then return {2, ''} end
redis.call('SET', KEYS[2], id, 'PX', ARGV[1])
return {0, id}
