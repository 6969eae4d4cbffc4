-- Closes a charge. KEYS are those of a charge. ARGV: the id, the cost, the kind of the closing entry, and `abandoned`
-- if no node holds the charge any more or `alive` otherwise. An abandoned block is closed at its committed amount.
-- Returns 1 if the charge was open, otherwise 0.
local id, cost, kind = ARGV[1], big(ARGV[2]), ARGV[3]
local kept = redis.call('HGET', KEYS[2], id)
if not kept and kind == 'refund' and ARGV[4] == 'alive' and not has_ended(1, id) then
  -- The charge may still be on its way: bar it, so that it is not taken.
  redis.call('HSET', KEYS[2], id, 'void ' .. server_time())
end
if not kept or kept:find('^void') then return 0 end
local account, taken = open_balance(KEYS[1], KEYS[3]), big(kept:match('^%d+') or '')
local committed = committed_of(kept)
if committed then
  lend(account, plus(taken, committed, -1), 0)
  if ARGV[4] == 'abandoned' then cost, kind = committed, end_of(committed) end
end
end_charge(account, KEYS[2], KEYS[4], id, taken, cost, kind)
save(account)
return 1
