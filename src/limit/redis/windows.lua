-- A draw. KEYS are the windows. ARGV has three values for each window: a pace, a capacity and a quota. The pace is the
-- refill in nanoseconds, or for a strict window its length in microseconds, negated.

-- The number of values in ARGV for each window.
local VALUES = 3

-- Returns the pace, the capacity and the quota of a window.
local function terms_of(i)
  local last = VALUES * i
  return tonumber(ARGV[last - 2]), tonumber(ARGV[last - 1]), tonumber(ARGV[last])
end

-- Takes a cell from every window, or from none. Returns the time to wait, which is zero if the cells were taken, and
-- the window that decides: its index, the number of further requests that it admits, the time until it is full, and the
-- time until it admits one more request. Times are in microseconds.
local function draw(count)
  local now, aheads, texts, longest, decides = clock(), {}, {}, 0, nil
  for i = 1, count do
    local pace, capacity, quota = terms_of(i)
    local wait, left, ahead, more, text
    if pace > 0 then
      wait, left, ahead, more, text = test_bucket(KEYS[i], now, pace, capacity, quota)
    else
      wait, left, ahead, more, text = test_log(KEYS[i], now, -pace, quota)
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
