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
