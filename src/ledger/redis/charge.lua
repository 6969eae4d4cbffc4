-- Takes a charge. From KEYS[key] on: the purse, its open charges, its entries, and the mark of a refund that came first.
-- From ARGV[at] on: the id, the amount, and what `call` reads.
-- Answers: 0 where there is too little, 1 where it is taken, 2 where there is no limit, 3 where it was given back before;
-- and what there is.
local function charge(key, at)
  local purse, open, void = open_purse(KEYS[key], KEYS[key + 2]), KEYS[key + 1], KEYS[key + 3]
  local id, amount = ARGV[at], big(ARGV[at + 1])
  if redis.call('EXISTS', void) == 1 then return { 3, text(purse.balance) } end
  call(purse, at + 2)
  local answer = 0
  if purse.unlimited then
    answer = 2
  elseif redis.call('HEXISTS', open, id) == 1 then
    answer = 1
  elseif not less(purse.balance, amount) then
    answer = 1
    redis.call('HSET', open, id, text(amount) .. ' ' .. purse.seen)
    purse.held = plus(purse.held, amount)
    move(purse, minus(purse.balance, amount), 'charge', id)
  end
  save(purse)
  return { answer, text(purse.balance) }
end
