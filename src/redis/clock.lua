-- The server's time in microseconds: whole, and exact in a double until the year 2255. It is asked once.
local micros
local function clock()
  if not micros then
    local time = redis.call('TIME')
    micros = time[1] * 1000000 + time[2]
  end
  return micros
end
