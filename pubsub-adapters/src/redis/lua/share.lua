-- Shares the shards of a group. KEYS: members, a lock per shard. ARGV: consumer, lease in ms, time to live of the
-- membership in ms, where to begin, number of this call, then per shard: k to keep it, d to let go of it, followed by the
-- number of the call that got it. A member that leaves adds one more argument, and gets nothing.
-- Returns {this member's share, per shard: 1 if it is this member's, 2 if it has just become so}
-- A lock says who holds it and by which call it was got. A call that arrives late changes nothing of what a later one got.
local me, lease, number = ARGV[1], ARGV[2], tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[3], me)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local shards, members = #KEYS - 1, redis.call('ZCARD', KEYS[1])
local share = math.ceil(shards / members)
local out, mine, free = {share}, 0, {}
local function take(i)
  redis.call('SET', KEYS[i + 1], me .. ' ' .. ARGV[5], 'PX', lease)
  out[i + 1] = 2
  mine = mine + 1
end
for i = 1, shards do
  local lock = redis.call('GET', KEYS[i + 1])
  out[i + 1] = 0
  if not lock then
    free[i] = true
  else
    local owner, got = lock:match('^(.*) (%d+)$')
    if owner == me then
      local word, known = ARGV[i + 5]:sub(1, 1), ARGV[i + 5]:sub(2)
      if tonumber(got) > number then
        out[i + 1] = 1
        mine = mine + 1
      elseif word == 'd' then
        redis.call('DEL', KEYS[i + 1])
      elseif known == got then
        redis.call('PEXPIRE', KEYS[i + 1], lease)
        out[i + 1] = 1
        mine = mine + 1
      else
        take(i)
      end
    end
  end
end
local leaves = #ARGV > shards + 5
for n = 0, shards - 1 do
  local i = (n + ARGV[4]) % shards + 1
  if not leaves and free[i] and mine < share then take(i) end
end
return out
