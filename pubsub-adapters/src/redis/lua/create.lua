-- Makes a group unless it is there. KEYS: stream. ARGV: group, start: 0, $ or an id after which it begins.
-- Returns whether the group is new, and whether the stream is.
local fresh = redis.call('EXISTS', KEYS[1]) == 0
if not fresh then
  for _, raw in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if raw[2] == ARGV[1] then return {0, 0} end
  end
end
local function count(id)
  if fresh then return '0' end
  local info = {}
  local raw = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #raw, 2 do info[raw[i]] = raw[i + 1] end
  if id == '$' or id == info['last-generated-id'] then return tostring(info['entries-added']) end
  if id == '0' then return tostring(info['entries-added'] - info['length']) end
  return '-1'
end
local read = count(ARGV[2])
local ok
if read == '-1' then
  ok = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
else
  ok = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM', 'ENTRIESREAD', read)
end
if ok.err then return ok end
return {1, fresh and 1 or 0}
