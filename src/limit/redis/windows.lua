-- KEYS are windows. ARGV has three values for each window: a pace, a capacity, and the units to take, which are at most the
-- capacity. The pace is the refill in nanoseconds, or for a strict window its length in microseconds, negated. If the quota
-- is not the capacity, it follows the capacity after a colon.

-- The number of values in ARGV for each window.
local VALUES = 3

local function capacity_and_quota(text)
  local capacity = tonumber(text)
  if capacity then return capacity, capacity end
  local first, second = text:match('^(%d+):(%d+)$')
  return first + 0, second + 0
end

-- Reads the first windows of KEYS, all at once. Each has its pace, capacity, quota and units, and what it has counted: the
-- buckets, or the log of a strict window.
local function read(count, now)
  local texts, windows = redis.call('MGET', unpack(KEYS, 1, count)), {}
  for i = 1, count do
    -- A key without a text may have a value of another type. GET returns an error for it, and MGET does not.
    local last, text = VALUES * i, texts[i] or redis.call('GET', KEYS[i])
    local pace, capacity, quota = ARGV[last - 2] + 0, capacity_and_quota(ARGV[last - 1])
    if pace > 0 then
      windows[i] = { pace, capacity, quota, ARGV[last] + 0, buckets_of(text, now, pace) }
    else
      windows[i] = { pace, capacity, quota, ARGV[last] + 0, log_of(text, now, -pace) }
    end
  end
  return windows
end

-- Returns the time until a window has the units to take. It is zero if the window has them.
local function wait_of(window, now, key)
  local pace, capacity, units, counted = window[1], window[2], window[4], window[5]
  if pace > 0 then return wait_for_units(key, counted, now, pace, capacity, window[3], units) end
  -- The wait for a request that was admitted before the clock was set back is no longer than for one that is admitted
  -- now.
  if window[6] then keep(key, text_of(counted), -pace) end
  if counted.used + units <= capacity then return 0 end
  return wait_for(counted, now, -pace, capacity - units + 1)
end

local function take(window, now)
  local pace, counted = window[1], window[5]
  if pace > 0 then
    take_units(counted, pace, window[2], window[3], window[4])
  else
    add_to(counted, now, -pace, window[3], window[4])
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
-- the index of the window that decides. The states of all windows follow if `every_window` is true, or else the state of that
-- window: the number of units that it has left, the time until it is full, and the time until it has one more unit. The times
-- are in microseconds.
local function draw(count, every_window)
  local now, longest, decides, least = clock(), 0, nil, nil
  local windows = read(count, now)
  for i = 1, count do
    local wait = wait_of(windows[i], now, KEYS[i])
    if wait > longest then longest, decides = wait, i end
  end
  local states, left_then, ahead_then, more_then = {}, nil, nil, nil
  for i = 1, count do
    local left, ahead, more
    if longest > 0 then
      left, ahead, more = state_of(windows[i], now)
    else
      take(windows[i], now)
      left, ahead, more = store(KEYS[i], windows[i], now)
      if not least or left < least then least, decides = left, i end
    end
    if every_window then
      states[i] = { left, ahead, more }
    elseif i == decides then
      left_then, ahead_then, more_then = left, ahead, more
    end
  end
  if not every_window then states[1] = { left_then, ahead_then, more_then } end
  return { longest, decides - 1, states }
end
