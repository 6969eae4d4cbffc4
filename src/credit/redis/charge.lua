-- Takes a charge. From KEYS[key] on: the balance, its open charges, its entries and its closed charges. From ARGV[at]
-- on: the id, the amount, and the arguments of `call`. Returns a code and the balance. The code is 0 if the balance is
-- too small, 1 if the charge is taken, 2 if there is no limit and 3 if the charge was closed before.
local function charge(key, at)
  local account, open = open_balance(KEYS[key], KEYS[key + 2]), KEYS[key + 1]
  local id, amount = ARGV[at], big(ARGV[at + 1])
  call(account, at + 2)
  local answer = 1
  if account.unlimited then
    answer = 2
  elseif has_ended(key, id) then
    answer = 3
  elseif less(account.balance, amount)
    or redis.call('HSETNX', open, id, ARGV[at + 1] .. ' ' .. server_time()) == 0 then
    local kept = redis.call('HGET', open, id)
    if not kept then answer = 0 elseif kept:find('^void') then answer = 3 end
  else
    account.held = plus(account.held, amount)
    move(account, plus(account.balance, amount, -1), 'charge', id)
  end
  save(account)
  return { answer, text(account.balance) }
end
