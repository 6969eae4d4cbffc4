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

-- Returns the time until a window is full, its unit, and its capacity if that is above its quota.
local function bucket_of(text, now, refill)
  local full, nanos, unit, rest, capacity = text:match('^(%d+)(%.?%d*):(%d+)(%.?%d*)(:?%d*)$')
  if not full then
    -- A window that was written before units were stored has the unit of its quota.
    full, nanos = text:match('^(%d+)(%.?%d*)$')
    if not full then error('a window holds no time') end
    return nanos_of(full, now, nanos), refill, false
  end
  unit = nanos_of(unit, 0, rest)
  if unit == 0 then error('a window holds no time') end
  if capacity ~= '' and (#capacity > 17 or not capacity:find('^:[1-9]')) then error('a window holds no capacity') end
  return nanos_of(full, now, nanos), unit, tonumber(capacity:sub(2)) or false
end

-- Returns the windows in a text that are not full, one for each quota. Each has three values, one after the other: the time
-- until it is full, its unit, and its capacity if that is above its quota, or else false. A text that is not such a window is
-- an error: it must not be read as a full window.
local function buckets_of(text, now, refill)
  if not text then return {} end
  -- Most texts have one window in whole microseconds.
  local full, unit = text:match('^(%d+):([1-9]%d*)$')
  if full and #full <= 16 and #unit <= 16 then
    local ahead = (full - now) * 1000
    if ahead <= 0 then return {} end
    return { ahead, unit * 1000, false }
  end
  local buckets, place = {}, 1
  repeat
    local space = text:find(' ', place, true)
    local ahead, unit, capacity = bucket_of(text:sub(place, (space or 0) - 1), now, refill)
    if ahead > 0 then
      local last = #buckets
      buckets[last + 1], buckets[last + 2], buckets[last + 3] = ahead, unit, capacity
    end
    place = space and space + 1
  until not place
  return buckets
end

-- Stores a text until the window is full, `ahead` microseconds from now.
local function keep(key, text, ahead)
  local millis = ceil(ahead / 1000) + 1
  redis.call('SET', key, text, 'PX', millis < 2 ^ 31 and format('%d', millis) or millis)
end

local function text_of_bucket(now, ahead, unit, capacity)
  local nanos, rest = ahead % 1000, unit % 1000
  local full, micros = now + (ahead - nanos) / 1000, (unit - rest) / 1000
  local text
  if nanos + rest == 0 and micros < 2 ^ 31 then
    -- Integers are formatted faster than floating-point numbers. They have 32 bits on some machines.
    local high = floor(full / 1e8)
    text = format('%d%08d:%d', high, full - high * 1e8, micros)
  else
    text = format('%.0f.%03d:%.0f.%03d', full, nanos, micros, rest)
  end
  return capacity and format('%s:%.0f', text, capacity) or text
end

local function text_of_buckets(buckets, now)
  if not buckets[4] then return text_of_bucket(now, buckets[1], buckets[2], buckets[3]) end
  local parts = {}
  for i = 1, #buckets, 3 do
    parts[#parts + 1] = text_of_bucket(now, buckets[i], buckets[i + 1], buckets[i + 2])
  end
  return table.concat(parts, ' ')
end

-- Joins the last two windows, if there are too many. The joined window is as strict as both: the later time, at the
-- faster pace.
local function join_most(buckets)
  if #buckets <= 3 * QUOTAS then return end
  local capacity, unit, ahead = table.remove(buckets), table.remove(buckets), table.remove(buckets)
  local i = #buckets - 2
  local longest = max(unit * (capacity or 0), buckets[i + 1] * (buckets[i + 2] or 0))
  buckets[i], buckets[i + 1] = max(buckets[i], ahead), min(buckets[i + 1], unit)
  buckets[i + 2] = longest > 0 and ceil(longest / buckets[i + 1])
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
local function left_of(buckets, capacity)
  local used, longest, more = 0, 0, 0
  for i = 1, #buckets, 3 do
    local ahead, cells = buckets[i], ceil(buckets[i] / buckets[i + 1])
    if cells > used then used = cells end
    if ahead > longest then longest = ahead end
  end
  local left = used < capacity and capacity - used or 0
  for i = 1, #buckets, 3 do
    local ahead = buckets[i] - buckets[i + 1] * (capacity - 1 - left)
    if ahead > more then more = ahead end
  end
  return left, ceil(longest / 1000), ceil(more / 1000)
end

-- Returns the microseconds after which the windows have some units, or zero if they have them.
local function wait_for_units(key, buckets, now, refill, capacity, quota, units)
  local wait, strayed = 0, false
  for i = 1, #buckets, 3 do
    local ahead, unit = buckets[i], buckets[i + 1]
    -- The clock was set back, or another program wrote this value. The wait must not be longer than for an empty window. A
    -- window that owes its capacity is full after twice that time. The refills of another quota may be rounded up more.
    local longest = max(refill * quota, unit * (buckets[i + 2] or 0))
    local rounded = longest / unit * (longest > LONGEST_IN_NANOS and 1000 or 1)
    if ahead > 2 * (longest + rounded) then ahead, buckets[i], strayed = longest, longest, true end
    local lacking = ahead - unit * (capacity - units)
    if lacking > wait then wait = lacking end
  end
  if strayed then
    local _, longest = left_of(buckets, capacity)
    keep(key, text_of_buckets(buckets, now), longest)
  end
  return ceil(wait / 1000)
end

-- Makes the window of a quota the first of those under a key.
local function lead(buckets, ahead, refill, capacity)
  for i = #buckets - 2, 1, -3 do
    if buckets[i + 1] == refill then
      for _ = 1, 3 do table.remove(buckets, i) end
    end
  end
  for i, value in ipairs({ ahead, refill, capacity }) do table.insert(buckets, i, value) end
  join_most(buckets)
end

-- Takes some units from the windows under a key.
--
-- What the windows have counted is taken over cell by cell. It is refilled at the pace of the quota under which it was taken,
-- so that no wait is longer than the window.
local function take_units(buckets, refill, capacity, quota, units)
  local full, drawn, taken = refill * capacity, refill * units, 0
  for i = 1, #buckets, 3 do
    taken = max(taken, converted(buckets[i], buckets[i + 1], refill, full - drawn, full))
  end
  local ahead, above = taken + drawn, capacity > quota and capacity
  if buckets[2] == refill then
    buckets[1], buckets[3] = ahead, above
  else
    lead(buckets, ahead, refill, above)
  end
end
