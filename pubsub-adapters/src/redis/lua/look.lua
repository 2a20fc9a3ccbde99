-- What a stream holds. KEYS: stream. Returns {} or {first id or '', last generated id, length, entries ever added}
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
local info = {}
local raw = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #raw, 2 do info[raw[i]] = raw[i + 1] end
local first = ''
if info['length'] > 0 then first = info['recorded-first-entry-id'] end
return {first, info['last-generated-id'], info['length'], info['entries-added']}
