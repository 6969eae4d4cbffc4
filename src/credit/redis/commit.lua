-- Commits an amount of a block. KEYS are those of a charge. ARGV: the id and the amount. Returns 1 if the block is
-- open, otherwise 0.
local keys = keys_from(1)
local kept = redis.call('HGET', keys.open, ARGV[1])
local block = kept and not kept:find('^void') and read_charge(kept)
if not block or not block.committed then return { DONE, '0' } end
local state, all = open_state(keys)
if state and is_held(state.holder) then return { BUSY } end
if not state then return due(keys, all, ARGV[1], '') end
local asked = smaller(block.amount, big(ARGV[2]))
if less(block.committed, asked) then
  local function part(committed) return main_part_beyond(block.draws, block.amount, committed) end
  state.lent = plus(minus(state.lent, part(block.committed)), part(asked))
  redis.call('HSET', keys.open, ARGV[1], text(block.amount) .. ' ' .. block.time .. ' ' .. text(asked) .. block.rest)
  save(state)
end
return { DONE, '1' }
