-- Shares the shards of a group. KEYS: members, a lock per shard. ARGV: consumer, lease in ms, time to live of the
-- membership in ms, where to begin, then per shard: k to keep it, d to let go of it.
-- A member that leaves adds one more argument, and gets nothing.
-- Returns {this member's share, per shard: 1 if it is this member's, 2 if it has just become so}
local me, lease = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[3], me)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local shards, members = #KEYS - 1, redis.call('ZCARD', KEYS[1])
local share = math.ceil(shards / members)
local out, mine, free = {share}, 0, {}
for i = 1, shards do
  local owner = redis.call('GET', KEYS[i + 1])
  out[i + 1] = 0
  if owner == me then
    if ARGV[i + 4] == 'd' then
      redis.call('DEL', KEYS[i + 1])
    else
      redis.call('PEXPIRE', KEYS[i + 1], lease)
      out[i + 1] = 1
      mine = mine + 1
    end
  elseif not owner then
    free[i] = true
  end
end
local leaves = #ARGV > shards + 4
for n = 0, shards - 1 do
  local i = (n + ARGV[4]) % shards + 1
  if not leaves and free[i] and mine < share then
    redis.call('SET', KEYS[i + 1], me, 'PX', lease)
    out[i + 1] = 2
    mine = mine + 1
  end
end
return out
