-- Replaces the oldest entries by those that represent them. KEYS: the entries, newest first. ARGV: the number of entries to
-- replace, the newest and the oldest of them, and the lines that take their place, newest first. Returns 1, or 0 if
-- another node has changed these entries meanwhile.
local old = tonumber(ARGV[1])
local newest, oldest = redis.call('LINDEX', KEYS[1], -old), redis.call('LINDEX', KEYS[1], -1)
if newest ~= ARGV[2] or oldest ~= ARGV[3] then return 0 end
redis.call('LTRIM', KEYS[1], 0, -old - 1)
for place = 4, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[place]) end
return 1
