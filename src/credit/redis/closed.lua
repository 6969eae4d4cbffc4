-- The recently closed charges of an account, by the time of closing. None of them is taken again.

-- Returns a value if a charge was closed recently, otherwise a false value. From KEYS[key] on: the keys of the charge
-- script.
local function has_ended(key, id)
  return redis.call('ZSCORE', KEYS[key + 3], id)
end

-- Returns the server's own time in milliseconds. Sweeps use it, because the clocks of nodes may differ.
local function server_time()
  return ('%.0f'):format(math.floor(clock() / 1000))
end
