-- A window is kept as the time at which it is full again, for as long as it is not, and the time in which a cell is refilled
-- that was taken: `FULL:UNIT`.

-- How far a window is from full, and its unit. What else may stand under its name is an error: it must not read as a full
-- one.
local function ahead_of(key, now, refill)
  local kept = redis.call('GET', key)
  if not kept then return 0, refill end
  local full, unit = kept:match('^(%d+):([1-9]%d*)$')
  -- One that was written before units were noted has its quota's.
  if not full then full, unit = kept:match('^%d+$'), refill end
  if not full or #full > 16 or #tostring(unit) > 16 then error('a window holds no time') end
  return math.max(tonumber(full) - now, 0), tonumber(unit)
end

local function keep(key, text, ahead)
  redis.call('SET', key, text, 'PX', math.ceil(ahead / 1000) + 1)
end

local function text_of_bucket(full, unit)
  return ('%.0f:%.0f'):format(full, unit)
end

-- `a * b / c`, rounded up, of whole numbers of which `a` is below `c`: bit by bit, as the product may be too large for a double.
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

-- What a draw comes to: how long to wait, how many more are admitted after it, how far the window is from full then, and the
-- text to be kept if it is taken.
local function test_bucket(key, now, refill, quota)
  local full, ahead, unit = refill * quota, ahead_of(key, now, refill)
  -- The clock was set back, or somebody else wrote this: it must not be waited for longer than for an empty window.
  if ahead > 2 * full then
    ahead, unit = full, refill
    keep(key, text_of_bucket(now + ahead, unit), ahead)
  end
  local most = unit * (quota - 1)
  if ahead > most then return ahead - most, math.max(quota - math.ceil(ahead / unit), 0), ahead end
  if unit ~= refill then
    -- The quota was changed: what was taken counts by the cell.
    local cells = math.floor(ahead / unit)
    ahead = math.min(cells * refill + share(ahead - cells * unit, refill, unit), full - refill)
  end
  ahead = ahead + refill
  return 0, math.floor((full - ahead) / refill), ahead, text_of_bucket(now + ahead, refill)
end
