-- KEYS are windows. ARGV has four values for each window: a pace, a capacity, a quota and the units to take, which are at
-- most the capacity. The pace is the refill in nanoseconds, or for a strict window its length in microseconds, negated.

-- The number of values in ARGV for each window.
local VALUES = 4

-- Reads the first windows of KEYS, all at once. Each has its pace, capacity, quota and units, and what it has counted: the
-- buckets, or the log of a strict window.
local function read(count, now)
  local texts, windows = redis.call('MGET', unpack(KEYS, 1, count)), {}
  for i = 1, count do
    -- A key without a text may have a value of another type. GET returns an error for it, and MGET does not.
    local last, text = VALUES * i, texts[i] or redis.call('GET', KEYS[i])
    local pace, capacity, quota, units = ARGV[last - 3] + 0, ARGV[last - 2] + 0, ARGV[last - 1] + 0, ARGV[last] + 0
    if pace > 0 then
      windows[i] = { pace, capacity, quota, units, buckets_of(text, now, pace) }
    else
      windows[i] = { pace, capacity, quota, units, log_of(text, now, -pace) }
    end
  end
  return windows
end

-- Returns the time until a window has the units to take. It is zero if the window has them.
local function wait_of(window, now, key)
  local pace, capacity, quota, units, counted, strayed = unpack(window, 1, 6)
  if pace > 0 then return wait_for_units(key, counted, now, pace, capacity, quota, units) end
  -- The wait for a request that was admitted before the clock was set back is no longer than for one that is admitted
  -- now.
  if strayed then keep(key, text_of(counted), -pace) end
  if counted.used + units <= capacity then return 0 end
  return wait_for(counted, now, -pace, capacity - units + 1)
end

local function take(window, now)
  local pace, capacity, quota, units, counted = unpack(window, 1, 5)
  if pace > 0 then
    take_units(counted, pace, capacity, quota, units)
  else
    add_to(counted, now, -pace, quota, units)
  end
end

-- Returns the number of units that a window has left, the time until it is full, and the time until it has one more unit.
local function state_of(window, now)
  local pace, capacity, counted = window[1], window[2], window[5]
  if pace > 0 then return left_of(counted, capacity) end
  return places_of(counted, now, -pace, capacity)
end

-- Stores a window, and returns its state.
local function store(key, window, now)
  local left, ahead, more = state_of(window, now)
  keep(key, window[1] > 0 and text_of_buckets(window[5], now) or text_of(window[5]), ahead)
  return left, ahead, more
end

-- Takes the units from every window, or from none. Returns the time to wait, which is zero if the units were taken, and
-- the index of the window that decides. The state of each window follows: the number of units that it has left, the time
-- until it is full, and the time until it has one more unit. The times are in microseconds.
local function draw(count)
  local now, longest, decides, least = clock(), 0, nil, nil
  local windows = read(count, now)
  for i = 1, count do
    local wait = wait_of(windows[i], now, KEYS[i])
    if wait > longest then longest, decides = wait, i end
  end
  local states = {}
  for i = 1, count do
    if longest > 0 then
      states[i] = { state_of(windows[i], now) }
    else
      take(windows[i], now)
      local left, ahead, more = store(KEYS[i], windows[i], now)
      states[i] = { left, ahead, more }
      if not least or left < least then least, decides = left, i end
    end
  end
  return { longest, decides - 1, states }
end
