-- The charges of an account that have ended not long ago, so that none is taken again: in two sets, of which the older one
-- goes as a whole. A charge that comes later than this many milliseconds after its end is on its way no more.
local KNOWN = 300000

-- Whether a charge has ended. From KEYS[key] on: what a charge's script reads and writes.
local function has_ended(key, id)
  return redis.call('SISMEMBER', KEYS[key + 3], id) == 1 or redis.call('SISMEMBER', KEYS[key + 4], id) == 1
end

local function note_end(key, id)
  local newer, older = KEYS[key + 3], KEYS[key + 4]
  local left = redis.call('PTTL', newer)
  if left >= 0 and left < KNOWN then
    redis.call('RENAME', newer, older)
    left = -1
  end
  redis.call('SADD', newer, id)
  if left < 0 then redis.call('PEXPIRE', newer, 2 * KNOWN) end
end

-- The server's own time in milliseconds. Sweeps go by it: the clocks of nodes may differ.
local function server_time()
  local time = redis.call('TIME')
  return ('%.0f'):format(time[1] * 1000 + math.floor(time[2] / 1000))
end
