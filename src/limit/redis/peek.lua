-- Returns, for each window, the number of units that it has left, the time until it is full, and the time until it has one
-- more unit. It takes nothing.
local now, windows = clock(), {}
for i, key in ipairs(KEYS) do
  local pace, capacity = terms_of(i)
  if pace > 0 then
    windows[i] = { left_of(aheads_of(key, now, pace), capacity) }
  else
    local log, used = log_of(key, now, -pace)
    local full, more = 0, 0
    if used > 0 then
      full, more = log[#log][1] - pace - now, wait_for(log, used, now, -pace, math.min(used, capacity))
    end
    windows[i] = { math.max(capacity - used, 0), full, more }
  end
end
return windows
