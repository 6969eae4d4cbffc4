-- Ends a charge. KEYS are those of a charge; ARGV: the id, what it came to, by what it ends, and whether nobody holds it any
-- more: then a block comes to what is committed of it. Answers whether it was open.
local id, cost, kind = ARGV[1], big(ARGV[2]), ARGV[3]
local kept = redis.call('HGET', KEYS[2], id)
if not kept and kind == 'refund' and ARGV[4] == 'alive' and not has_ended(1, id) then
  -- Its charge may be on its way: it is not to be taken.
  redis.call('HSET', KEYS[2], id, 'void ' .. server_time())
end
if not kept or kept:find('^void') then return 0 end
local purse, taken = open_purse(KEYS[1], KEYS[3]), big(kept:match('^%d+') or '')
local committed = committed_of(kept)
if committed then
  lend(purse, plus(taken, committed, -1), 0)
  if ARGV[4] == 'abandoned' then cost, kind = committed, end_of(committed) end
end
end_charge(purse, KEYS[2], KEYS[4], id, taken, cost, kind)
save(purse)
return 1
