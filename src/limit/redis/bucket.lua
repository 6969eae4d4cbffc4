-- A window that is not full is stored as `FULL:UNIT`, in microseconds: the time at which it is full again, and the
-- refill time of a taken cell. If there are nanoseconds, they follow as three digits: `FULL.NNN:UNIT.NNN`. Units, and
-- times relative to now, are counted in nanoseconds. A window of more than 30 days has a refill of whole microseconds,
-- because doubles represent multiples of 1000 exactly up to 2^56.

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

-- Returns the time until a window is full, and its unit. Any other value under the window's key is an error: it must
-- not be read as a full window.
local function ahead_of(key, now, refill)
  local kept = redis.call('GET', key)
  if not kept then return 0, refill end
  -- A window that was written before units were stored has the unit of its quota.
  local full, unit = kept:match('^([^:]*):([^:]*)$')
  local micros, nanos = time_of(full or kept)
  if unit then
    local whole, rest = time_of(unit)
    unit = whole * 1000 + rest
    if unit == 0 then error('a window holds no time') end
  end
  return math.max((micros - now) * 1000 + nanos, 0), unit or refill
end

local function in_micros(nanos)
  return math.ceil(nanos / 1000)
end

-- Stores a text until the window is full, `ahead` microseconds from now.
local function keep(key, text, ahead)
  redis.call('SET', key, text, 'PX', math.ceil(ahead / 1000) + 1)
end

local function text_of_bucket(now, ahead, unit)
  local full = text_of_time(now + math.floor(ahead / 1000), ahead % 1000)
  return full .. ':' .. text_of_time(math.floor(unit / 1000), unit % 1000)
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

-- Returns the result of a draw: the time to wait, the number of further requests that are admitted after it, the time
-- until the window is then full, and the text to store if the draw is taken. Both times are in microseconds. The clock
-- shows whole microseconds, so that waits are rounded up.
local function test_bucket(key, now, refill, quota)
  local full, ahead, unit = refill * quota, ahead_of(key, now, refill)
  -- The clock was set back, or another program wrote this value. The wait must not be longer than for an empty window.
  if ahead > 2 * full then
    ahead = full
    keep(key, text_of_bucket(now, ahead, unit), in_micros(ahead))
  end
  local most = unit * (quota - 1)
  if ahead > most then
    return in_micros(ahead - most), math.max(quota - math.ceil(ahead / unit), 0), in_micros(ahead)
  end
  if unit ~= refill then
    -- The quota was changed: what was taken is converted cell by cell, rounded up to the microsecond.
    local cells = math.floor(ahead / unit)
    local rest = ahead - cells * unit
    local step = (rest % 1000 + refill % 1000 + unit % 1000 == 0) and 1000 or 1
    local taken = cells * refill + share(rest / step, refill / step, unit / step) * step
    ahead = math.min(in_micros(taken) * 1000, full - refill)
  end
  ahead = ahead + refill
  return 0, math.floor((full - ahead) / refill), in_micros(ahead), text_of_bucket(now, ahead, refill)
end
