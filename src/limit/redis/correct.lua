-- Changes the units that a draw took. ARGV has the values of the draw, then the actual weight, and the microseconds since
-- the draw.

-- Changes the windows under a key. They owe at most their capacity. Units that were refilled since the draw are not given
-- back.
local function correct_buckets(buckets, refill, capacity, quota, units, actual, elapsed)
  local own
  for i = 1, #buckets, 3 do
    if buckets[i + 1] == refill then own = i end
  end
  if actual > units then
    local above = capacity > quota and capacity
    if not own then
      lead(buckets, 0, refill, above)
      own = 1
    end
    -- The window may have been drawn from under a quota of the same pace, and owes more than that quota allows.
    if above then buckets[own + 2] = max(buckets[own + 2] or 0, above) end
    local more = min(actual - units, 2 * capacity) * refill
    buckets[own] = max(buckets[own], min(buckets[own] + more, 2 * refill * capacity))
  elseif own then
    local fewer = max((units - actual) * refill - elapsed * 1000, 0)
    buckets[own] = max(buckets[own] - fewer, 0)
  end
  if own and buckets[own] == 0 then
    for _ = 1, 3 do table.remove(buckets, own) end
  end
end

-- Changes a strict window. The oldest places are given back first. It counts at most twice its quota.
local function correct_log(log, now, window, quota, units, actual, elapsed)
  if actual > units then
    local more = min(actual - units, max(2 * quota - log.used, 0))
    if more > 0 then add_to(log, now, window, quota, more) end
  elseif elapsed < window then
    local fewer = units - actual
    while log[1] and fewer > 0 do
      local back = min(log[1][2], fewer)
      log[1][2], log.used, fewer = log[1][2] - back, log.used - back, fewer - back
      if log[1][2] == 0 then table.remove(log, 1) end
    end
  end
end

local now = clock()
local actual, elapsed = tonumber(ARGV[VALUES * #KEYS + 1]), tonumber(ARGV[VALUES * #KEYS + 2])
for i, window in ipairs(read(#KEYS, now)) do
  local pace, capacity, quota, units, counted = unpack(window, 1, 5)
  if pace > 0 then
    correct_buckets(counted, pace, capacity, quota, units, actual, elapsed)
  else
    correct_log(counted, now, -pace, quota, units, actual, elapsed)
  end
  if counted[1] then store(KEYS[i], window, now) else redis.call('DEL', KEYS[i]) end
end
return 0
