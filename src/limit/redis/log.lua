-- A strict window is kept as what it has admitted: `TIME:COUNT TIME:COUNT ...`, the oldest first. What was admitted within
-- one stretch is counted together, under the time of the last of it, and takes its places until the window has passed.

-- The longest text that is one of ours: so many stretches, and as many single requests of a quota that was smaller once.
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
  -- The clock was set back: times stay in order.
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

-- In how long places enough are free for one more request.
local function wait_for(log, used, now, window, quota)
  for _, stretch in ipairs(log) do
    used = used - stretch[2]
    if used < quota then return stretch[1] + window - now end
  end
end

-- What `test_bucket` tells, and the text to be kept if the draw is taken.
local function test_log(key, now, window, quota)
  local log, used, strayed = log_of(key, now, window)
  -- Nobody waits for what was admitted before the clock was set back longer than for what is admitted now.
  if strayed then keep(key, text_of(log), window) end
  local newest = log[#log]
  if used >= quota then
    return wait_for(log, used, now, window, quota), 0, newest[1] + window - now
  end
  local stretch = quota <= 16 and 1 or math.max(math.floor(window / 16), 1)
  local last = math.max(newest and newest[1] or now, now)
  if newest and math.floor(newest[1] / stretch) == math.floor(last / stretch) then
    newest[1], newest[2] = last, newest[2] + 1
  else
    log[#log + 1] = { last, 1 }
  end
  return 0, quota - used - 1, last + window - now, text_of(log)
end
