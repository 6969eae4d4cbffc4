-- Leased blocks. Each balance stores the sum of the uncommitted amounts of its blocks.

-- Returns the committed amount of an open charge, or nil if it is not a block.
local function committed_of(kept)
  local committed = kept:match('^%d+ %S+ (%d+)$')
  return committed and big(committed)
end

-- Replaces the uncommitted amount of a block, `before`, by `now` in the balance.
local function lend(account, before, now)
  account.lent, account.changed = plus(plus(account.lent, now), before, -1), true
end

-- Returns the kind of entry that closes a block at its committed amount.
local function end_of(committed)
  return less(0, committed) and 'settlement' or 'refund'
end

-- The time in milliseconds for which a closed charge is remembered. A charge that arrives later than this after its end
-- can no longer be on its way.
local KNOWN = 300000

-- Removes a charge from the open charges. The difference between the charge and its cost is returned to the balance.
local function end_charge(account, open, closed, id, taken, cost, kind)
  redis.call('HDEL', open, id)
  redis.call('ZADD', closed, server_time(), id)
  redis.call('ZREMRANGEBYSCORE', closed, '-inf', server_time() - KNOWN)
  redis.call('PEXPIRE', closed, KNOWN)
  account.held, account.changed = plus(account.held, taken, -1), true
  if not account.unlimited and less(cost, taken) then
    move(account, plus(account.balance, plus(taken, cost, -1)), kind, id)
  end
end
