-- Takes a block: a charge with a committed amount. KEYS and ARGV are those of a charge, followed by the committed
-- amount.
local answer = charge(1, 1)
local kept = redis.call('HGET', KEYS[2], ARGV[1])
if answer[1] == 1 and kept and not committed_of(kept) then
  local account, amount, committed = open_balance(KEYS[1], KEYS[3]), big(kept:match('^%d+')), big(ARGV[10])
  if less(amount, committed) then committed = amount end
  redis.call('HSET', KEYS[2], ARGV[1], kept .. ' ' .. text(committed))
  lend(account, 0, plus(amount, committed, -1))
  save(account)
end
return answer
