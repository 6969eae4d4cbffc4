-- Takes a charge. From KEYS[key] on: the purse, its open charges, its entries, and the charges that have ended. From ARGV[at]
-- on: the id, the amount, and what `call` reads.
-- Answers: 0 where there is too little, 1 where it is taken, 2 where there is no limit, 3 where it has ended before; and what
-- there is.
local function charge(key, at)
  local purse, open = open_purse(KEYS[key], KEYS[key + 2]), KEYS[key + 1]
  local id, amount = ARGV[at], big(ARGV[at + 1])
  call(purse, at + 2)
  local answer = 1
  if purse.unlimited then
    answer = 2
  elseif has_ended(key, id) then
    answer = 3
  elseif less(purse.balance, amount)
    or redis.call('HSETNX', open, id, ARGV[at + 1] .. ' ' .. server_time()) == 0 then
    local kept = redis.call('HGET', open, id)
    if not kept then answer = 0 elseif kept:find('^void') then answer = 3 end
  else
    purse.held = plus(purse.held, amount)
    move(purse, plus(purse.balance, amount, -1), 'charge', id)
  end
  save(purse)
  return { answer, text(purse.balance) }
end
