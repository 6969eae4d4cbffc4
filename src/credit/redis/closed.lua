-- The charges of an account that have ended not long ago, by when: none is taken again.

-- Whether a charge has ended. From KEYS[key] on: what a charge's script reads and writes.
local function has_ended(key, id)
  return redis.call('ZSCORE', KEYS[key + 3], id)
end

-- The server's own time in milliseconds. Sweeps go by it: the clocks of nodes may differ.
local function server_time()
  return ('%.0f'):format(math.floor(clock() / 1000))
end
