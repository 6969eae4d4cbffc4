-- The server's time in microseconds: an integer, exact in a double until the year 2255. It is read once per call.
local micros
local function clock()
  if not micros then
    local time = redis.call('TIME')
    micros = time[1] * 1000000 + time[2]
  end
  return micros
end
