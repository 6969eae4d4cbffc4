-- A window is kept as the time at which it is full again, for as long as it is not.

-- How far a window is from full. What else may stand under its name is an error: it must not read as a full one.
local function ahead_of(key, now)
  local kept = redis.call('GET', key)
  if not kept then return 0 end
  if #kept > 16 or not kept:find('^%d+$') then error('a window holds no time') end
  return math.max(tonumber(kept) - now, 0)
end

local function keep(key, now, ahead)
  redis.call('SET', key, now + ahead, 'PX', math.ceil(ahead / 1000) + 1)
end

-- Takes a cell from every window, or from none: KEYS are the windows, ARGV has a refill and a quota for each.
-- Answers how long to wait, zero where the cells were taken, and the window that decides: its place, how many more it
-- admits, and how far it is from full.
local function draw(count)
  local now, drawn, wait, decides = clock(), {}, 0, nil
  for i = 1, count do
    local refill, quota = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local full, ahead = refill * quota, ahead_of(KEYS[i], now)
    -- The clock was set back, or somebody else wrote this: it must not be waited for longer than for an empty window.
    if ahead > 2 * full then
      ahead = full
      keep(KEYS[i], now, ahead)
    end
    local short = ahead + refill - full
    if short > wait then
      wait, decides = short, { i - 1, math.max(math.floor((full - ahead) / refill), 0), ahead }
    elseif wait == 0 then
      drawn[i] = ahead + refill
      local left = math.floor((full - drawn[i]) / refill)
      if not decides or left < decides[2] then decides = { i - 1, left, drawn[i] } end
    end
  end
  if wait == 0 then
    for i = 1, count do keep(KEYS[i], now, drawn[i]) end
  end
  return { wait, decides[1], decides[2], decides[3] }
end
