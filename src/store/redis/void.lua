-- KEYS: marks, then entries. The entries are deleted at once, since they may live longer than the marks. ARGV: the life
-- of the marks in milliseconds, which is the longest life of anything that they invalidate; the number of marks.
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
