-- Makes a stream unless it is there. KEYS: stream. Returns 1 if it is new.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('XGROUP', 'CREATE', KEYS[1], '.', 0, 'MKSTREAM')
redis.call('XGROUP', 'DESTROY', KEYS[1], '.')
return 1
