-- Takes everything pending of a shard in order. KEYS: stream, due, lock, failed. ARGV: group, consumer, id after which to go on,
-- the most to take, owner or empty, what the lock must say or empty where there is none, then ids to pass over.
-- Returns {deliveries, lost, id up to which it looked or empty}, or {} if the shard is not this member's.
local key, group, me = KEYS[1], ARGV[1], ARGV[2]
if ARGV[6] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[6] then return {} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local skip = {}
for i = 7, #ARGV do skip[ARGV[i]] = true end
local pending
if ARGV[5] == '' then
  pending = redis.call('XPENDING', key, group, '(' .. ARGV[3], '+', ARGV[4])
else
  pending = redis.call('XPENDING', key, group, '(' .. ARGV[3], '+', ARGV[4], ARGV[5])
end
local out, lost, last = {}, 0, ''
for _, p in ipairs(pending) do
  local id = p[1]
  last = id
  local due = redis.call('ZSCORE', KEYS[2], id)
  if not skip[id] and (not due or tonumber(due) <= now) then
    redis.call('ZREM', KEYS[2], id)
    local e = redis.call('XCLAIM', key, group, me, 0, id)
    if #e == 1 and e[1] then
      out[#out + 1] = {id, e[1][2], p[4] + 1, redis.call('HGET', KEYS[4], id) or ''}
    else
      redis.call('HDEL', KEYS[4], id)
      lost = lost + 1
    end
  end
end
if #pending < tonumber(ARGV[4]) then last = '' end
return {out, lost, last}
