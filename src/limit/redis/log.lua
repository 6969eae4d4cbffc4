-- A strict window is stored as a log of its admissions: `TIME:COUNT TIME:COUNT ...`, the oldest first. Requests
-- admitted within one stretch are counted together, under the time of the last of them. They take their places until
-- the window has passed since that time.

-- The longest text that this script writes: the maximum number of stretches, and as many single requests of a formerly
-- smaller quota.
local LONGEST = 40 * 28

local function log_of(key, now, window)
  local kept, log, used, place, strayed = redis.call('GET', key), {}, 0, 1, false
  if not kept then return log, 0, false end
  if kept == '' or #kept > LONGEST then error('a window holds no log') end
  while place <= #kept do
    local first, last, time, count = kept:find('^(%d+):([1-9]%d*) ?', place)
    if not first or #time > 16 or #count > 10 then error('a window holds no log') end
    time, count, place = tonumber(time), tonumber(count), last + 1
    strayed = strayed or time > now + window
    if time + window > now then
      log[#log + 1], used = { time, count }, used + count
    end
  end
  -- The clock was set back: times must stay in ascending order.
  if strayed then
    for _, stretch in ipairs(log) do stretch[1] = math.min(stretch[1], now) end
  end
  return log, used, strayed
end

local function text_of(log)
  local parts = {}
  for i, stretch in ipairs(log) do parts[i] = string.format('%.0f:%.0f', stretch[1], stretch[2]) end
  return table.concat(parts, ' ')
end

-- Returns the time until fewer than `quota` places are taken.
local function wait_for(log, used, now, window, quota)
  for _, stretch in ipairs(log) do
    used = used - stretch[2]
    if used < quota then return stretch[1] + window - now end
  end
end

-- Adds units to a log. Returns the time of the newest stretch.
local function add_to(log, now, window, quota, units)
  local newest = log[#log]
  local stretch = quota <= 16 and 1 or math.max(math.floor(window / 16), 1)
  local last = math.max(newest and newest[1] or now, now)
  if newest and math.floor(newest[1] / stretch) == math.floor(last / stretch) then
    newest[1], newest[2] = last, newest[2] + units
  else
    log[#log + 1] = { last, units }
  end
  return last
end

-- Returns the same values as `test_bucket`, including the text to store if the draw is taken.
local function test_log(key, now, window, quota, units)
  local log, used, strayed = log_of(key, now, window)
  -- The wait for a request that was admitted before the clock was set back is no longer than for one that is admitted
  -- now.
  if strayed then keep(key, text_of(log), window) end
  if used + units > quota then
    local wait, more = wait_for(log, used, now, window, quota - units + 1), wait_for(log, used, now, window, math.min(used, quota))
    return wait, math.max(quota - used, 0), log[#log][1] + window - now, more
  end
  local last = add_to(log, now, window, quota, units)
  return 0, quota - used - units, last + window - now, log[1][1] + window - now, text_of(log)
end
