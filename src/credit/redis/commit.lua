-- Commits an amount of a block. KEYS are those of a charge. ARGV: the id and the amount. Returns 1 if the block is
-- open, otherwise 0.
local kept = redis.call('HGET', KEYS[2], ARGV[1])
local committed = kept and committed_of(kept)
if not committed then return 0 end
local amount, asked = big(kept:match('^%d+')), big(ARGV[2])
if less(amount, asked) then asked = amount end
if less(committed, asked) then
  local account = open_balance(KEYS[1], KEYS[3])
  redis.call('HSET', KEYS[2], ARGV[1], kept:match('^%d+ %S+ ') .. text(asked))
  lend(account, plus(amount, committed, -1), plus(amount, asked, -1))
  save(account)
end
return 1
