-- Returns the entries before a number, or all entries if the number is empty, newest first. ARGV: the number and the
-- maximum count. The numbers of folded entries have gaps.
local count, found, place = tonumber(ARGV[2]), {}, 0
local before = ARGV[1] ~= '' and tonumber(ARGV[1])
if before then
  local newest = redis.call('LINDEX', KEYS[1], 0)
  if not newest then return {} end
  local low, high = 0, math.min(redis.call('LLEN', KEYS[1]), math.max(tonumber(newest:match('^%d+')) - before + 1, 0))
  -- The place of a number is at most its distance from the newest one.
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', KEYS[1], middle):match('^%d+')) < before then high = middle else low = middle + 1 end
  end
  place = low
end
return redis.call('LRANGE', KEYS[1], place, place + count - 1)
