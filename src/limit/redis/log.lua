-- A strict window is stored as a log of its admissions: `TIME:COUNT TIME:COUNT ...`, the oldest first. Requests
-- admitted within one stretch are counted together, under the time of the last of them. They take their places until
-- the window has passed since that time.

-- The longest text that this script writes: the maximum number of stretches, and as many single requests of a formerly
-- smaller quota.
local LONGEST = 40 * 28

-- Returns a log of the stretches that take places, with the number of places in `used`, and true if the clock was set back.
local function log_of(text, now, window)
  local log, place, strayed = { used = 0 }, 1, false
  if not text then return log, false end
  if text == '' or #text > LONGEST then error('a window holds no log') end
  while place <= #text do
    local first, last, time, count = text:find('^(%d+):([1-9]%d*) ?', place)
    if not first or #time > 16 or #count > 10 then error('a window holds no log') end
    time, count, place = tonumber(time), tonumber(count), last + 1
    strayed = strayed or time > now + window
    if time + window > now then
      log[#log + 1], log.used = { time, count }, log.used + count
    end
  end
  -- The clock was set back: times must stay in ascending order.
  if strayed then
    for _, stretch in ipairs(log) do stretch[1] = min(stretch[1], now) end
  end
  return log, strayed
end

local function text_of(log)
  local parts = {}
  for i, stretch in ipairs(log) do parts[i] = format('%.0f:%.0f', stretch[1], stretch[2]) end
  return table.concat(parts, ' ')
end

-- Returns the time until fewer than `places` places are taken.
local function wait_for(log, now, window, places)
  local used = log.used
  for _, stretch in ipairs(log) do
    used = used - stretch[2]
    if used < places then return stretch[1] + window - now end
  end
end

-- Adds units to a log.
local function add_to(log, now, window, quota, units)
  local newest = log[#log]
  local stretch = quota <= 16 and 1 or max(floor(window / 16), 1)
  local last = max(newest and newest[1] or now, now)
  if newest and floor(newest[1] / stretch) == floor(last / stretch) then
    newest[1], newest[2] = last, newest[2] + units
  else
    log[#log + 1] = { last, units }
  end
  log.used = log.used + units
end

-- Returns the number of places that a log leaves, the time until all are free, and the time until one more is free.
local function places_of(log, now, window, quota)
  local used = log.used
  if used == 0 then return quota, 0, 0 end
  return max(quota - used, 0), log[#log][1] + window - now, wait_for(log, now, window, min(used, quota))
end
