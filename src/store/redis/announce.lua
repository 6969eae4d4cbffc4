-- KEYS: the count of announcements. ARGV: the channel, the change. Counting and publishing are one step, so a listener
-- that misses a change sees a gap.
local count = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[1], string.format('%.0f', count) .. ' ' .. ARGV[2])
return 1
