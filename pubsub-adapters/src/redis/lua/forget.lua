-- Removes from a stream what every group has settled. KEYS: stream. A stream without groups keeps all it has.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local function parts(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local keep, keep_ms, keep_seq
for _, raw in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local g = {}
  for i = 1, #raw, 2 do g[raw[i]] = raw[i + 1] end
  local first
  if g['pending'] > 0 then
    first = redis.call('XPENDING', KEYS[1], g['name'])[2]
  else
    local ms, seq = parts(g['last-delivered-id'])
    first = string.format('%.0f-%.0f', ms, seq + 1)
  end
  local ms, seq = parts(first)
  if not keep or ms < keep_ms or (ms == keep_ms and seq < keep_seq) then
    keep, keep_ms, keep_seq = first, ms, seq
  end
end
if not keep then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', keep)
