-- Blocks that nodes hold. Of each account it is kept how much is out and not committed.

-- What is committed of an open charge, if it is a block.
local function committed_of(kept)
  local committed = kept:match('^%d+ %S+ (%d+)$')
  return committed and big(committed)
end

-- Notes that of a block so much is out now, and was before.
local function lend(key, before, now)
  local lent = big(redis.call('HGET', key, 'lent') or '0')
  redis.call('HSET', key, 'lent', text(plus(minus(lent, before), now)))
end
