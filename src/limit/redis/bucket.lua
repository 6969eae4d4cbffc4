-- A window that is not full is stored as `FULL:UNIT`, in microseconds: the time at which it is full again, and the
-- refill time of a taken cell. If there are nanoseconds, they follow as three digits: `FULL.NNN:UNIT.NNN`. If its
-- capacity is above its quota, it is stored as `FULL:UNIT:CAPACITY`. If several quotas count the same requests, a window
-- for each of them is stored, with a space between two. Units, and times
-- relative to now, are counted in nanoseconds. A window of more than 30 days has a refill of whole microseconds, because
-- doubles represent multiples of 1000 exactly up to 2^56.

-- The longest window, in nanoseconds, that is counted in nanoseconds: sums of three such times are exact below 2^53. It is
-- longer than 30 days, because rounded refills add up to a little more than the window.
local LONGEST_IN_NANOS = 3e15

-- The number of quotas for which the windows that count the same requests are kept apart.
local QUOTAS = 64

-- Returns whole microseconds and the remaining nanoseconds. A number of more than 16 digits is not a time.
local function time_of(text)
  local micros, nanos = text:match('^(%d+)%.(%d%d%d)$')
  if not micros then micros, nanos = text:match('^%d+$'), 0 end
  if not micros or #micros > 16 then error('a window holds no time') end
  return tonumber(micros), tonumber(nanos)
end

local function text_of_time(micros, nanos)
  if nanos == 0 then return ('%.0f'):format(micros) end
  return ('%.0f.%03d'):format(micros, nanos)
end

-- Returns the time until a window is full, its unit, and its capacity if that is above its quota.
local function ahead_of(text, now, refill)
  local full, unit, capacity = text:match('^([^:]*):([^:]*):([1-9]%d*)$')
  if capacity and #capacity > 16 then error('a window holds no capacity') end
  -- A window that was written before units were stored has the unit of its quota.
  if not capacity then full, unit = text:match('^([^:]*):([^:]*)$') end
  local micros, nanos = time_of(full or text)
  if unit then
    local whole, rest = time_of(unit)
    unit = whole * 1000 + rest
    if unit == 0 then error('a window holds no time') end
  end
  return math.max((micros - now) * 1000 + nanos, 0), unit or refill, tonumber(capacity)
end

-- Returns the windows under a key that are not full, one for each quota: the time until it is full, its unit, and its
-- capacity if that is above its quota. Any other value under the key is an error: it must not be read as a full window.
local function aheads_of(key, now, refill)
  local kept, windows, place = redis.call('GET', key), {}, 1
  if not kept then return windows end
  repeat
    local space = kept:find(' ', place, true)
    local ahead, unit, capacity = ahead_of(kept:sub(place, (space or 0) - 1), now, refill)
    if ahead > 0 then windows[#windows + 1] = { ahead, unit, capacity } end
    place = space and space + 1
  until not place
  return windows
end

local function in_micros(nanos)
  return math.ceil(nanos / 1000)
end

-- Stores a text until the window is full, `ahead` microseconds from now.
local function keep(key, text, ahead)
  redis.call('SET', key, text, 'PX', math.ceil(ahead / 1000) + 1)
end

local function text_of_buckets(windows, now)
  local parts = {}
  for i, window in ipairs(windows) do
    local full = text_of_time(now + math.floor(window[1] / 1000), window[1] % 1000)
    local capacity = window[3] and (':%.0f'):format(window[3]) or ''
    parts[i] = full .. ':' .. text_of_time(math.floor(window[2] / 1000), window[2] % 1000) .. capacity
  end
  return table.concat(parts, ' ')
end

-- Returns the longest time that a window of a quota of this length takes to be full.
local function longest_of(window, length)
  return math.max(length, window[2] * (window[3] or 0))
end

-- Joins the last two windows, if there are too many. The joined window is as strict as both: the later time, at the
-- faster pace.
local function join_most(windows)
  if #windows <= QUOTAS then return end
  local last = table.remove(windows)
  local kept = windows[#windows]
  local longest = math.max(longest_of(kept, 0), longest_of(last, 0))
  kept[1], kept[2] = math.max(kept[1], last[1]), math.min(kept[2], last[2])
  kept[3] = longest > 0 and math.ceil(longest / kept[2]) or nil
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
    local whole = math.floor(rest / c)
    result, rest, bit = result * 2 + whole, rest - whole * c, bit / 2
  end
  return rest > 0 and result + 1 or result
end

-- Returns the time until a window is full if its taken cells are refilled in `refill` and not in `unit` each, but at most
-- `most`. It is rounded up to a nanosecond, and for a window that is full in a longer time to a microsecond.
local function converted(ahead, unit, refill, most, full)
  if unit == refill then return ahead end
  local cells = math.floor(ahead / unit)
  if cells * refill >= most then return most end
  local rest = ahead - cells * unit
  local longer = full > LONGEST_IN_NANOS and rest % 1000 + refill % 1000 + unit % 1000 == 0
  local step = longer and 1000 or 1
  return math.min(cells * refill + share(rest / step, refill / step, unit / step) * step, most)
end

-- Returns the time until the windows are full, and the time until they have more than `left` units, in microseconds.
local function times_of(windows, capacity, left)
  local longest, more = 0, 0
  for _, window in ipairs(windows) do
    longest = math.max(longest, window[1])
    more = math.max(more, window[1] - window[2] * (capacity - 1 - left))
  end
  return in_micros(longest), in_micros(more)
end

-- Returns the number of units that the windows have left, the time until all are full, and the time until they have one
-- more unit.
local function left_of(windows, capacity)
  local used = 0
  for _, window in ipairs(windows) do used = math.max(used, math.ceil(window[1] / window[2])) end
  local left = math.max(capacity - used, 0)
  return left, times_of(windows, capacity, left)
end

-- Returns the result of a draw of some units: the time to wait, the number of units that are left after it, the time until
-- the window is then full, the time until it then has one more unit, and the text to store if the draw is taken. The times
-- are in microseconds. The clock shows whole microseconds, so that waits are rounded up.
--
-- A draw waits for the window of each quota that counts the same requests. What these windows have counted is taken over
-- cell by cell. It is refilled at the pace of the quota under which it was taken, so that no wait is longer than the
-- window.
local function test_bucket(key, now, refill, capacity, quota, units)
  local full, drawn, windows, wait, taken, strayed = refill * capacity, refill * units, aheads_of(key, now, refill), 0, 0, false
  for _, window in ipairs(windows) do
    -- The clock was set back, or another program wrote this value. The wait must not be longer than for an empty window.
    local longest = longest_of(window, refill * quota)
    if window[1] > 2 * longest then window[1], strayed = longest, true end
    wait = math.max(wait, window[1] - window[2] * (capacity - units))
    taken = math.max(taken, converted(window[1], window[2], refill, full - drawn, full))
  end
  if strayed then
    local _, longest = left_of(windows, capacity)
    keep(key, text_of_buckets(windows, now), longest)
  end
  if wait > 0 then return in_micros(wait), left_of(windows, capacity) end
  local after = { { taken + drawn, refill, capacity > quota and capacity or nil } }
  for _, window in ipairs(windows) do
    if window[2] ~= refill then after[#after + 1] = window end
  end
  join_most(after)
  local left = math.floor((full - taken - drawn) / refill)
  local longest, more = times_of(after, capacity, left)
  return 0, left, longest, more, text_of_buckets(after, now)
end
