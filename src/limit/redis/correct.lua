-- Changes the units that a draw took. ARGV has the values of the draw, then the actual weight, and the microseconds since
-- the draw.

-- Returns the text of a bucket after the change, and the time until it is full. It owes at most its capacity. Cells that were
-- refilled since the draw are not given back.
local function corrected_bucket(key, now, refill, capacity, quota, units, actual, elapsed)
  local windows, own = aheads_of(key, now, refill), nil
  for _, window in ipairs(windows) do
    if window[2] == refill then own = window end
  end
  if actual > units then
    if not own then
      own = { 0, refill, capacity > quota and capacity or nil }
      table.insert(windows, 1, own)
      join_most(windows)
    end
    local full = refill * capacity
    local more = math.min(actual - units, 2 * capacity) * refill
    own[1] = math.max(own[1], math.min(own[1] + more, 2 * full))
  elseif own then
    local fewer = math.max((units - actual) * refill - elapsed * 1000, 0)
    own[1] = math.max(own[1] - fewer, 0)
  end
  local kept = {}
  for _, window in ipairs(windows) do
    if window[1] > 0 then kept[#kept + 1] = window end
  end
  if #kept == 0 then return false, 0 end
  local _, longest = left_of(kept, capacity)
  return text_of_buckets(kept, now), longest
end

-- Returns the same for a strict window. The oldest places are given back first. It counts at most twice its quota.
local function corrected_log(key, now, window, quota, units, actual, elapsed)
  local log, used = log_of(key, now, window)
  if actual > units then
    local more = math.min(actual - units, math.max(2 * quota - used, 0))
    if more > 0 then add_to(log, now, window, quota, more) end
  elseif elapsed < window then
    local fewer = units - actual
    while log[1] and fewer > 0 do
      local back = math.min(log[1][2], fewer)
      log[1][2], fewer = log[1][2] - back, fewer - back
      if log[1][2] == 0 then table.remove(log, 1) end
    end
  end
  if #log == 0 then return false, 0 end
  return text_of(log), log[#log][1] + window - now
end

local now, texts, aheads = clock(), {}, {}
local actual, elapsed = tonumber(ARGV[VALUES * #KEYS + 1]), tonumber(ARGV[VALUES * #KEYS + 2])
for i, key in ipairs(KEYS) do
  local pace, capacity, quota, units = terms_of(i)
  if pace > 0 then
    texts[i], aheads[i] = corrected_bucket(key, now, pace, capacity, quota, units, actual, elapsed)
  else
    texts[i], aheads[i] = corrected_log(key, now, -pace, quota, units, actual, elapsed)
  end
end
for i, key in ipairs(KEYS) do
  if texts[i] then keep(key, texts[i], aheads[i]) else redis.call('DEL', key) end
end
return 0
