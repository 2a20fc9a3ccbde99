-- Reads for a member of a group from those shards that it still holds. KEYS: streams, then a lock per stream.
-- ARGV: group, consumer, most per stream, then per stream: what its lock must say, or nothing where it has none.
-- Returns {entries per stream as XREADGROUP has them, per stream: 1 if it was refused, per stream: where the group is}.
-- The last one comes only where there was nothing to read.
local n = #KEYS / 2
local call, keys = {'XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS'}, {}
local refused = {}
for i = 1, n do
  local held = ARGV[3 + i]
  refused[i] = 0
  if held == '' or redis.call('GET', KEYS[n + i]) == held then
    keys[#keys + 1] = KEYS[i]
  else
    refused[i] = 1
  end
end
if #keys == 0 then return {{}, refused, {}} end
for _, key in ipairs(keys) do call[#call + 1] = key end
for _ = 1, #keys do call[#call + 1] = '>' end
local found = redis.pcall(unpack(call))
if found and found.err then return found end
if found then return {found, refused, {}} end
local places = {}
for i = 1, n do
  places[i] = '$'
  for _, raw in ipairs(redis.call('XINFO', 'GROUPS', KEYS[i])) do
    local g = {}
    for j = 1, #raw, 2 do g[raw[j]] = raw[j + 1] end
    if g['name'] == ARGV[1] then places[i] = g['last-delivered-id'] end
  end
end
return {{}, refused, places}
