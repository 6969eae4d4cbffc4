-- Returns the entries before a number, or all entries if the number is empty, newest first. ARGV: the number and the
-- maximum count.
local newest = redis.call('LINDEX', KEYS[1], 0)
if not newest then return {} end
local first = 0
if ARGV[1] ~= '' then first = math.max(tonumber(newest:match('^%d+')) - tonumber(ARGV[1]) + 1, 0) end
return redis.call('LRANGE', KEYS[1], first, first + tonumber(ARGV[2]) - 1)
