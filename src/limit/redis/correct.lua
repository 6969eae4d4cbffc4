-- Changes the units that a draw took. ARGV has the values of the draw, then the actual weight, and the microseconds since
-- the draw.

-- Changes the windows under a key. They owe at most their capacity. Units that were refilled since the draw are not given
-- back.
local function correct_buckets(windows, refill, capacity, quota, units, actual, elapsed)
  local own
  for _, window in ipairs(windows) do
    if window[2] == refill then own = window end
  end
  if actual > units then
    if not own then
      own = { 0, refill, capacity > quota and capacity or nil }
      table.insert(windows, 1, own)
      join_most(windows)
    end
    local more = min(actual - units, 2 * capacity) * refill
    own[1] = max(own[1], min(own[1] + more, 2 * refill * capacity))
  elseif own then
    local fewer = max((units - actual) * refill - elapsed * 1000, 0)
    own[1] = max(own[1] - fewer, 0)
  end
  for i = #windows, 1, -1 do
    if windows[i][1] == 0 then table.remove(windows, i) end
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
