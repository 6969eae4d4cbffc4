-- KEYS: marks. ARGV: for how many milliseconds anything may live that they make void.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
for _, mark in ipairs(KEYS) do redis.call('SET', mark, now, 'PX', ARGV[1]) end
return 1
