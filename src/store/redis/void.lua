-- KEYS: marks, then entries, which are gone at once: they may live for longer than the marks. ARGV: for how many milliseconds
-- anything may live that the marks make void; how many marks there are.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
for place, name in ipairs(KEYS) do
  if place <= tonumber(ARGV[2]) then
    redis.call('SET', name, now, 'PX', ARGV[1])
  else
    redis.call('DEL', name)
  end
end
return 1
