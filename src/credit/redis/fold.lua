-- Folds the oldest entries into one: all entries before the first one that is not older than a given time. KEYS: the
-- entries, newest first. ARGV: the time. Returns the number of removed entries.
local entries, before, old = redis.call('LRANGE', KEYS[1], 0, -1), tonumber(ARGV[1]), 0
for place = #entries, 1, -1 do
  if tonumber(entries[place]:match('%S+$')) >= before then break end
  old = old + 1
end
if old < 2 then return 0 end
local number, balance, at = entries[#entries - old + 1]:match('^(%d+) %S+ %S+ %S+ (%S+) (%S+)$')
redis.call('LTRIM', KEYS[1], 0, #entries - old)
redis.call('LSET', KEYS[1], -1, table.concat({ number, 'folded', '-', balance == 'unlimited' and '0' or balance, balance, at }, ' '))
return old - 1
