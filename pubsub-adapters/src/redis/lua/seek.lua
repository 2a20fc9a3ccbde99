-- Moves a group, and takes back all that is pending. KEYS: stream, due, failed. ARGV: group, target: 0, $ or an id.
local key, group, target = KEYS[1], ARGV[1], ARGV[2]
while true do
  local pending = redis.call('XPENDING', key, group, '-', '+', 500)
  if #pending == 0 then break end
  local ids = {}
  for i, p in ipairs(pending) do ids[i] = p[1] end
  redis.call('XACK', key, group, unpack(ids))
end
redis.call('DEL', KEYS[2], KEYS[3])
local info = {}
local raw = redis.call('XINFO', 'STREAM', key)
for i = 1, #raw, 2 do info[raw[i]] = raw[i + 1] end
local read
if target == '$' or target == info['last-generated-id'] then read = info['entries-added'] end
if target == '0' then read = info['entries-added'] - info['length'] end
if read then return redis.call('XGROUP', 'SETID', key, group, target, 'ENTRIESREAD', read) end
return redis.call('XGROUP', 'SETID', key, group, target)
