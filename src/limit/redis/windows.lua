-- A draw. KEYS are the windows. ARGV has four values for each window: a pace, a capacity, a quota and the units to take,
-- which are at most the capacity. The pace is the refill in nanoseconds, or for a strict window its length in
-- microseconds, negated.

-- The number of values in ARGV for each window.
local VALUES = 4

-- Returns the pace, the capacity and the quota of a window, and the units to take.
local function terms_of(i)
  local last = VALUES * i
  return tonumber(ARGV[last - 3]), tonumber(ARGV[last - 2]), tonumber(ARGV[last - 1]), tonumber(ARGV[last])
end

-- Takes the units from every window, or from none. Returns the time to wait, which is zero if the units were taken, and
-- the window that decides: its index, the number of units that it has left, the time until it is full, and the time until
-- it has one more unit. Times are in microseconds.
local function draw(count)
  local now, aheads, texts, longest, decides = clock(), {}, {}, 0, nil
  for i = 1, count do
    local pace, capacity, quota, units = terms_of(i)
    local wait, left, ahead, more, text
    if pace > 0 then
      wait, left, ahead, more, text = test_bucket(KEYS[i], now, pace, capacity, quota, units)
    else
      wait, left, ahead, more, text = test_log(KEYS[i], now, -pace, quota, units)
    end
    aheads[i], texts[i] = ahead, text
    if wait > longest then
      longest, decides = wait, { i - 1, left, ahead, more }
    elseif longest == 0 and (not decides or left < decides[2]) then
      decides = { i - 1, left, ahead, more }
    end
  end
  if longest == 0 then
    for i = 1, count do keep(KEYS[i], texts[i], aheads[i]) end
  end
  return { longest, decides[1], decides[2], decides[3], decides[4] }
end
