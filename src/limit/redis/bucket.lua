-- A window is kept as the time at which it is full again, for as long as it is not.

-- How far a window is from full. What else may stand under its name is an error: it must not read as a full one.
local function ahead_of(key, now)
  local kept = redis.call('GET', key)
  if not kept then return 0 end
  if #kept > 16 or not kept:find('^%d+$') then error('a window holds no time') end
  return math.max(tonumber(kept) - now, 0)
end

local function keep(key, text, ahead)
  redis.call('SET', key, text, 'PX', math.ceil(ahead / 1000) + 1)
end

-- How long a draw has to wait, how many more are admitted after it, and how far the window is from full then.
local function test_bucket(key, now, refill, quota)
  local full, ahead = refill * quota, ahead_of(key, now)
  -- The clock was set back, or somebody else wrote this: it must not be waited for longer than for an empty window.
  if ahead > 2 * full then
    ahead = full
    keep(key, now + ahead, ahead)
  end
  local wait = ahead + refill - full
  if wait > 0 then return wait, math.max(math.floor((full - ahead) / refill), 0), ahead end
  ahead = ahead + refill
  return 0, math.floor((full - ahead) / refill), ahead
end
