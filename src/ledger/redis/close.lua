-- Ends a charge. KEYS are those of a charge; ARGV: the id, what it came to, by what it ends, and for how many
-- milliseconds a refund is remembered whose charge is not there: it may be on its way; and whether nobody holds it any
-- more: then a block comes to what is committed of it.
local id, cost, kind = ARGV[1], big(ARGV[2]), ARGV[3]
local kept = redis.call('HGET', KEYS[2], id)
if not kept then
  if kind == 'refund' then redis.call('SET', KEYS[4], '', 'PX', ARGV[4]) end
  return 0
end
local purse, taken = open_purse(KEYS[1], KEYS[3]), big(kept:match('^%d+') or '')
local committed = committed_of(kept)
if committed then
  lend(KEYS[1], minus(taken, committed), ZERO)
  if ARGV[5] == 'abandoned' then
    cost, kind = committed, less(ZERO, committed) and 'settlement' or 'refund'
  end
end
redis.call('HDEL', KEYS[2], id)
purse.held, purse.changed = minus(purse.held, taken), true
if not purse.unlimited and less(cost, taken) then
  move(purse, plus(purse.balance, minus(taken, cost)), kind, id)
end
save(purse)
return 1
