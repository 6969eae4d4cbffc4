-- Blocks that nodes hold. Of each account it is kept how much is out and not committed.

-- What is committed of an open charge, if it is a block.
local function committed_of(kept)
  local committed = kept:match('^%d+ %S+ (%d+)$')
  return committed and big(committed)
end

-- Notes that of a block so much is out now, and was before.
local function lend(purse, before, now)
  purse.lent, purse.changed = plus(plus(purse.lent, now), before, -1), true
end

-- By what a block ends that comes to what is committed of it.
local function end_of(committed)
  return less(0, committed) and 'settlement' or 'refund'
end

-- A charge that comes later than this many milliseconds after its end is on its way no more.
local KNOWN = 300000

-- Takes an open charge off those that are open; what its cost leaves goes back.
local function end_charge(purse, open, closed, id, taken, cost, kind)
  redis.call('HDEL', open, id)
  redis.call('ZADD', closed, server_time(), id)
  redis.call('ZREMRANGEBYSCORE', closed, '-inf', server_time() - KNOWN)
  redis.call('PEXPIRE', closed, KNOWN)
  purse.held, purse.changed = plus(purse.held, taken, -1), true
  if not purse.unlimited and less(cost, taken) then
    move(purse, plus(purse.balance, plus(taken, cost, -1)), kind, id)
  end
end
