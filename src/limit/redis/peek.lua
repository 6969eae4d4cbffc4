-- Returns, for each window, the number of requests that it admits and the time until it is full. It takes nothing.
local now, windows = clock(), {}
for i, key in ipairs(KEYS) do
  local pace, capacity = terms_of(i)
  if pace > 0 then
    windows[i] = { left_of(aheads_of(key, now, pace), capacity) }
  else
    local log, used = log_of(key, now, -pace)
    local newest = log[#log]
    windows[i] = { math.max(capacity - used, 0), newest and newest[1] - pace - now or 0 }
  end
end
return windows
