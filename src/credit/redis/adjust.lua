-- Changes a balance manually. KEYS: the balance, its entries, the adjustments that were made, their ids (oldest first),
-- the open charges and the closed charges. ARGV: the id, the kind, the amount, and the arguments of `call`. Returns the
-- outcome, the balance before and the balance after.
local REMEMBERED = 1024
local id, kind, amount = ARGV[1], ARGV[2], big(ARGV[3])
local made = redis.call('HGET', KEYS[3], id)
if made then
  local kind_made, amount_made, balance = made:match('^(%S+) (%d+) (%S+)$')
  if kind_made == kind and amount_made == ARGV[3] then return { 'repeated', balance, balance } end
  return { 'conflict', kind_made, amount_made }
end

local account = open_balance(KEYS[1], KEYS[2])
call(account, 4)
if kind == 'set' then
  -- Leased blocks are closed at their committed amounts.
  local open = redis.call('HGETALL', KEYS[5])
  for place = 1, #open, 2 do
    local block, kept = open[place], open[place + 1]
    local committed = committed_of(kept)
    if committed then
      local taken = big(kept:match('^%d+'))
      lend(account, plus(taken, committed, -1), 0)
      end_charge(account, KEYS[5], KEYS[6], block, taken, committed, end_of(committed))
    end
  end
end
local function shown() return account.unlimited and 'unlimited' or text(account.balance) end
local before, after, refused = shown(), 0, nil
if kind == 'top-up' or kind == 'deduction' then
  if account.unlimited then
    refused = 'unlimited'
  elseif kind == 'top-up' then
    after = plus(account.balance, amount)
  elseif less(account.balance, amount) then
    refused = 'insufficient'
  else
    after = plus(account.balance, amount, -1)
  end
elseif kind == 'set' then
  after = amount
end
-- Open charges may be returned, so they need room below the maximum too. A deduction needs no room, and an account
-- without limit always has room.
if not refused and (kind == 'top-up' or kind == 'set') and less(MAX, plus(after, account.held)) then
  refused = 'too much'
end
if not refused then
  account.unlimited = kind == 'unlimited'
  move(account, after, kind, id)
  redis.call('HSET', KEYS[3], id, table.concat({ kind, ARGV[3], shown() }, ' '))
  if redis.call('RPUSH', KEYS[4], id) > REMEMBERED then
    redis.call('HDEL', KEYS[3], redis.call('LPOP', KEYS[4]))
  end
end
save(account)
return { refused or 'done', before, shown() }
