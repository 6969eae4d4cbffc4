-- KEYS: the count of what was announced. ARGV: the channel, the change. Counted and told in one step: a listener that misses
-- one sees a gap.
local count = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[1], string.format('%.0f', count) .. ' ' .. ARGV[2])
return 1
