-- The server's time in microseconds: whole, and exact in a double until the year 2255.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
