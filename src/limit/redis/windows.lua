-- A draw. KEYS are the windows. ARGV has two values for each window: a pace and a quota. The pace is the refill in
-- nanoseconds, or for a strict window its length in microseconds, negated.

-- Takes a cell from every window, or from none. Returns the time to wait, which is zero if the cells were taken, and
-- the window that decides: its index, the number of further requests that it admits, and the time until it is full.
-- Times are in microseconds.
local function draw(count)
  local now, aheads, texts, longest, decides = clock(), {}, {}, 0, nil
  for i = 1, count do
    local pace, quota = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local wait, left, ahead, text
    if pace > 0 then
      wait, left, ahead, text = test_bucket(KEYS[i], now, pace, quota)
    else
      wait, left, ahead, text = test_log(KEYS[i], now, -pace, quota)
    end
    aheads[i], texts[i] = ahead, text
    if wait > longest then
      longest, decides = wait, { i - 1, left, ahead }
    elseif longest == 0 and (not decides or left < decides[2]) then
      decides = { i - 1, left, ahead }
    end
  end
  if longest == 0 then
    for i = 1, count do keep(KEYS[i], texts[i], aheads[i]) end
  end
  return { longest, decides[1], decides[2], decides[3] }
end
