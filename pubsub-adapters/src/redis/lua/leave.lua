-- Removes a member that has left, unless something is pending for it. KEYS: members, streams. ARGV: group, consumer.
redis.call('ZREM', KEYS[1], ARGV[2])
for i = 2, #KEYS do
  local ok, found = pcall(redis.call, 'XINFO', 'CONSUMERS', KEYS[i], ARGV[1])
  if ok then
    for _, raw in ipairs(found) do
      local c = {}
      for j = 1, #raw, 2 do c[raw[j]] = raw[j + 1] end
      if c['name'] == ARGV[2] and c['pending'] == 0 then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[1], ARGV[2])
      end
    end
  end
end
return 0
