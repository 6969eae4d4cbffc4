-- The slots of a limit on requests in flight are stored in a sorted set: the ids of the requests, by the time at which each
-- slot expires, in microseconds of the server's clock. ARGV[1] is the lifetime of a slot in milliseconds.

-- The longest lifetime of a slot, in microseconds. A slot that expires later was given before the clock was set back.
local LONGEST = 600 * 1000000

local function text_of(number)
  return ('%.0f'):format(number)
end

-- Returns the time at which a slot expires that is given or renewed now.
local function expiry()
  return text_of(clock() + ARGV[1] * 1000)
end

-- Lets the set expire with its last slot. Another node may have a longer lifetime.
local function keep_set(key)
  if redis.call('PTTL', key) < tonumber(ARGV[1]) then redis.call('PEXPIRE', key, ARGV[1]) end
end

-- Takes a slot of every limit, or of none. KEYS are the sets of the limits. ARGV[2] is the id of the request, and the number
-- of slots of each limit follows. Returns 0, or the place of the first limit that has no slot, counted from 1.
local function acquire()
  local now, expires = clock(), expiry()
  local first, last = '(' .. text_of(now), text_of(now + LONGEST)
  -- All sets are read before the first write, which a server without memory refuses.
  for i, key in ipairs(KEYS) do
    if redis.call('ZCOUNT', key, first, last) >= tonumber(ARGV[i + 2]) then return i end
  end
  for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, expires, ARGV[2])
    redis.call('ZREMRANGEBYSCORE', key, '-inf', text_of(now))
    redis.call('ZREMRANGEBYSCORE', key, '(' .. last, '+inf')
    keep_set(key)
  end
  return 0
end

-- Renews slots of the set KEYS[1]. ARGV[2] is `renew`, or `restore` to add slots that the set has not any more. The ids of
-- the requests follow. Returns the places of those that the set has not, counted from 0.
local function renew()
  local key, expires, slots, lost = KEYS[1], expiry(), {}, {}
  for i = 3, #ARGV do
    slots[#slots + 1] = expires
    slots[#slots + 1] = ARGV[i]
  end
  if ARGV[2] == 'restore' then
    redis.call('ZADD', key, unpack(slots))
  elseif redis.call('ZADD', key, 'XX', 'CH', unpack(slots)) < #ARGV - 2 then
    for i = 3, #ARGV do
      if not redis.call('ZSCORE', key, ARGV[i]) then lost[#lost + 1] = i - 3 end
    end
  end
  keep_set(key)
  return lost
end

-- Frees the slots of requests in every set of KEYS. ARGV are the ids.
local function release()
  for _, key in ipairs(KEYS) do
    for _, id in ipairs(ARGV) do redis.call('ZREM', key, id) end
  end
  return 0
end
