-- Looks after one shard for one member of a group. KEYS: stream, due, members, failed.
-- ARGV: group, consumer, lease in ms, room, time to live of the membership in ms, whether to take over from others,
-- whether retention may remove events, whether to take again what this member has let run out.
-- Returns {deliveries as {id, fields, count, first failed or empty}, events lost while pending, events overtaken or -1, ms until more is due or -1}
local key, group, me, room = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[3], now + ARGV[5], me)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)

local function parts(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function before(a, b)
  local ams, aseq = parts(a)
  local bms, bseq = parts(b)
  return ams < bms or (ams == bms and aseq < bseq)
end

local overtaken = 0
if ARGV[7] == '1' then
  local info = {}
  local raw = redis.call('XINFO', 'STREAM', key)
  for i = 1, #raw, 2 do info[raw[i]] = raw[i + 1] end
  local first = info['recorded-first-entry-id']
  local gone = info['entries-added'] - info['length']
  for _, raw in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local g = {}
    for i = 1, #raw, 2 do g[raw[i]] = raw[i + 1] end
    if g['name'] == group and gone > 0 then
      local read = g['entries-read']
      local behind
      if info['length'] == 0 then
        behind = before(g['last-delivered-id'], info['last-generated-id'])
        first = info['last-generated-id']
      else
        behind = before(g['last-delivered-id'], first)
      end
      if behind and (not read or read < gone) then
        overtaken = read and (gone - read) or -1
        local ms, seq = parts(first)
        local target = first
        if info['length'] > 0 then
          if seq > 0 then target = string.format('%.0f-%.0f', ms, seq - 1)
          else target = string.format('%.0f-18446744073709551615', ms - 1) end
        end
        redis.call('XGROUP', 'SETID', key, group, target, 'ENTRIESREAD', gone)
      end
    end
  end
end

local ids, more, crowded = {}, -1, false
if ARGV[6] ~= '1' then
  -- The reader of a shard takes what is due in its order, with all that is pending.
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 256)) do
    if #redis.call('XPENDING', key, group, id, id, 1) == 0 then redis.call('ZREM', KEYS[2], id) end
  end
elseif room > 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, room)) do
    ids[#ids + 1] = id
  end
end
if ARGV[6] == '1' then
  for _, raw in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
    local c = {}
    for i = 1, #raw, 2 do c[raw[i]] = raw[i + 1] end
    if c['name'] ~= 'parked' then
      if c['pending'] > 0 then
        if c['name'] ~= me or ARGV[8] == '1' then
          local lease = c['name']:match('^c(%d+)%-') or ARGV[3]
          for _, p in ipairs(redis.call('XPENDING', key, group, 'IDLE', lease, '-', '+', room - #ids + 1, c['name'])) do
            if #ids < room then ids[#ids + 1] = p[1] else crowded = true end
          end
        end
      elseif c['name'] ~= me and c['idle'] > 60000 and not redis.call('ZSCORE', KEYS[3], c['name']) then
        redis.call('XGROUP', 'DELCONSUMER', key, group, c['name'])
      end
    end
  end
end

local out, lost = {}, 0
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[2], id)
  local p = redis.call('XPENDING', key, group, id, id, 1)
  if #p == 1 then
    local e = redis.call('XCLAIM', key, group, me, 0, id)
    if #e == 1 and e[1] then
      out[#out + 1] = {id, e[1][2], p[1][4] + 1, redis.call('HGET', KEYS[4], id) or ''}
    else
      redis.call('HDEL', KEYS[4], id)
      lost = lost + 1
    end
  end
end
local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if #next > 0 then more = math.max(0, tonumber(next[2]) - now) end
if crowded then more = 0 end
return {out, lost, overtaken, more}
