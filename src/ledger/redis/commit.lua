-- Commits so much of a block. KEYS are those of a charge; ARGV: the id, and how much. Answers whether it is open.
local kept = redis.call('HGET', KEYS[2], ARGV[1])
local committed = kept and committed_of(kept)
if not committed then return 0 end
local amount, asked = big(kept:match('^%d+')), big(ARGV[2])
if less(amount, asked) then asked = amount end
if less(committed, asked) then
  redis.call('HSET', KEYS[2], ARGV[1], kept:match('^%d+ %S+ ') .. text(asked))
  lend(KEYS[1], minus(amount, committed), minus(amount, asked))
end
return 1
