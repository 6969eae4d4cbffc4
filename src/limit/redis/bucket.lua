-- A window that is not full is stored as `FULL:UNIT`, in microseconds: the time at which it is full again, and the
-- refill time of a taken cell. If there are nanoseconds, they follow as three digits: `FULL.NNN:UNIT.NNN`. If its
-- capacity is above its quota, it is stored as `FULL:UNIT:CAPACITY`. If several quotas count the same requests, a window
-- for each of them is stored, with a space between two. Units, and times relative to now, are counted in nanoseconds. A
-- window of more than 30 days has a refill of whole microseconds, because doubles represent multiples of 1000 exactly up
-- to 2^56.

-- The longest window, in nanoseconds, that is counted in nanoseconds: sums of three such times are exact below 2^53. It is
-- longer than 30 days, because rounded refills add up to a little more than the window.
local LONGEST_IN_NANOS = 3e15

-- The number of quotas for which the windows that count the same requests are kept apart.
local QUOTAS = 64

-- Local names are found faster than the fields of a library.
local ceil, floor, max, min, format = math.ceil, math.floor, math.max, math.min, string.format

-- Returns nanoseconds: those of a text of microseconds, counted from `from`, and those after its decimal point. A number of
-- more than 16 digits is not a time.
local function nanos_of(micros, from, nanos)
  if #micros > 16 then error('a window holds no time') end
  local time = (tonumber(micros) - from) * 1000
  if nanos == '' then return time end
  if #nanos ~= 4 then error('a window holds no time') end
  return time + tonumber(nanos:sub(2))
end

-- Returns a window: the time until it is full, its unit, and its capacity if that is above its quota.
local function bucket_of(text, now, refill)
  local full, nanos, unit, rest, capacity = text:match('^(%d+)(%.?%d*):(%d+)(%.?%d*)(:?%d*)$')
  if not full then
    -- A window that was written before units were stored has the unit of its quota.
    full, nanos = text:match('^(%d+)(%.?%d*)$')
    if not full then error('a window holds no time') end
    return { max(nanos_of(full, now, nanos), 0), refill }
  end
  unit = nanos_of(unit, 0, rest)
  if unit == 0 then error('a window holds no time') end
  if capacity ~= '' and (#capacity > 17 or not capacity:find('^:[1-9]')) then error('a window holds no capacity') end
  return { max(nanos_of(full, now, nanos), 0), unit, tonumber(capacity:sub(2)) }
end

-- Returns the windows in a text that are not full, one for each quota. A text that is not such a window is an error: it must
-- not be read as a full window.
local function buckets_of(text, now, refill)
  if not text then return {} end
  -- Most texts have one window in whole microseconds.
  local full, unit = text:match('^(%d+):([1-9]%d*)$')
  if full and #full <= 16 and #unit <= 16 then
    local ahead = (full - now) * 1000
    if ahead <= 0 then return {} end
    return { { ahead, unit * 1000 } }
  end
  local windows, place = {}, 1
  repeat
    local space = text:find(' ', place, true)
    local window = bucket_of(text:sub(place, (space or 0) - 1), now, refill)
    if window[1] > 0 then windows[#windows + 1] = window end
    place = space and space + 1
  until not place
  return windows
end

-- Stores a text until the window is full, `ahead` microseconds from now.
local function keep(key, text, ahead)
  redis.call('SET', key, text, 'PX', ceil(ahead / 1000) + 1)
end

local function text_of_bucket(window, now)
  local nanos, rest = window[1] % 1000, window[2] % 1000
  local full, unit = now + (window[1] - nanos) / 1000, (window[2] - rest) / 1000
  local text
  if nanos + rest == 0 and unit < 2 ^ 31 then
    -- Integers are formatted faster than floating-point numbers. They have 32 bits on some machines.
    local high = floor(full / 1e8)
    text = format('%d%08d:%d', high, full - high * 1e8, unit)
  else
    text = format('%.0f.%03d:%.0f.%03d', full, nanos, unit, rest)
  end
  return window[3] and format('%s:%.0f', text, window[3]) or text
end

local function text_of_buckets(windows, now)
  if not windows[2] then return text_of_bucket(windows[1], now) end
  local parts = {}
  for i, window in ipairs(windows) do parts[i] = text_of_bucket(window, now) end
  return table.concat(parts, ' ')
end

-- Returns the longest time that a window of a quota of this length takes to be full.
local function longest_of(window, length)
  return max(length, window[2] * (window[3] or 0))
end

-- Joins the last two windows, if there are too many. The joined window is as strict as both: the later time, at the
-- faster pace.
local function join_most(windows)
  if #windows <= QUOTAS then return end
  local last = table.remove(windows)
  local kept = windows[#windows]
  local longest = max(longest_of(kept, 0), longest_of(last, 0))
  kept[1], kept[2] = max(kept[1], last[1]), min(kept[2], last[2])
  kept[3] = longest > 0 and ceil(longest / kept[2]) or nil
end

-- Returns `a * b / c`, rounded up. All are whole numbers, and `a` is less than `c`. It computes bit by bit, because the
-- product may be too large for a double.
local function share(a, b, c)
  local bit, result, rest = 1, 0, 0
  while bit * 2 <= b do bit = bit * 2 end
  while bit >= 1 do
    local set = b >= bit
    if set then b = b - bit end
    rest = rest * 2 + (set and a or 0)
    local whole = floor(rest / c)
    result, rest, bit = result * 2 + whole, rest - whole * c, bit / 2
  end
  return rest > 0 and result + 1 or result
end

-- Returns the time until a window is full if its taken cells are refilled in `refill` and not in `unit` each, but at most
-- `most`. It is rounded up to a nanosecond, and for a window that is full in a longer time to a microsecond.
local function converted(ahead, unit, refill, most, full)
  if unit == refill then return ahead end
  local cells = floor(ahead / unit)
  if cells * refill >= most then return most end
  local rest = ahead - cells * unit
  local longer = full > LONGEST_IN_NANOS and rest % 1000 + refill % 1000 + unit % 1000 == 0
  local step = longer and 1000 or 1
  return min(cells * refill + share(rest / step, refill / step, unit / step) * step, most)
end

-- Returns the number of units that the windows have left, the time until all are full, and the time until they have one
-- more unit. The times are in microseconds. The clock shows whole microseconds, so that they are rounded up.
local function left_of(windows, capacity)
  local used, longest, more = 0, 0, 0
  for i = 1, #windows do
    local window = windows[i]
    used, longest = max(used, ceil(window[1] / window[2])), max(longest, window[1])
  end
  local left = max(capacity - used, 0)
  for i = 1, #windows do
    local window = windows[i]
    more = max(more, window[1] - window[2] * (capacity - 1 - left))
  end
  return left, ceil(longest / 1000), ceil(more / 1000)
end

-- Returns the microseconds after which the windows have some units, or zero if they have them.
local function wait_for_units(key, windows, now, refill, capacity, quota, units)
  local wait, strayed = 0, false
  for i = 1, #windows do
    local window = windows[i]
    -- The clock was set back, or another program wrote this value. The wait must not be longer than for an empty window.
    local longest = longest_of(window, refill * quota)
    if window[1] > 2 * longest then window[1], strayed = longest, true end
    wait = max(wait, window[1] - window[2] * (capacity - units))
  end
  if strayed then
    local _, longest = left_of(windows, capacity)
    keep(key, text_of_buckets(windows, now), longest)
  end
  return ceil(wait / 1000)
end

-- Takes some units from the windows under a key.
--
-- What the windows have counted is taken over cell by cell. It is refilled at the pace of the quota under which it was taken,
-- so that no wait is longer than the window.
local function take_units(windows, refill, capacity, quota, units)
  local full, drawn, taken, own = refill * capacity, refill * units, 0, nil
  for i = 1, #windows do
    local window = windows[i]
    taken = max(taken, converted(window[1], window[2], refill, full - drawn, full))
    if window[2] == refill then own = i end
  end
  if own ~= 1 then table.insert(windows, 1, own and table.remove(windows, own) or { 0, refill }) end
  windows[1][1], windows[1][3] = taken + drawn, capacity > quota and capacity or nil
  join_most(windows)
end
