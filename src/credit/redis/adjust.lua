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

local purse = open_purse(KEYS[1], KEYS[2])
call(purse, 4)
if kind == 'set' then
  -- Leased blocks are closed at their committed amounts.
  local open = redis.call('HGETALL', KEYS[5])
  for place = 1, #open, 2 do
    local block, kept = open[place], open[place + 1]
    local committed = committed_of(kept)
    if committed then
      local taken = big(kept:match('^%d+'))
      lend(purse, plus(taken, committed, -1), 0)
      end_charge(purse, KEYS[5], KEYS[6], block, taken, committed, end_of(committed))
    end
  end
end
local function shown() return purse.unlimited and 'unlimited' or text(purse.balance) end
local before, after, refused = shown(), 0, nil
if kind == 'top-up' or kind == 'deduction' then
  if purse.unlimited then
    refused = 'unlimited'
  elseif kind == 'top-up' then
    after = plus(purse.balance, amount)
  elseif less(purse.balance, amount) then
    refused = 'insufficient'
  else
    after = plus(purse.balance, amount, -1)
  end
elseif kind == 'set' then
  after = amount
end
-- Open charges may be returned, so they need room below the maximum too. A deduction needs no room, and an account
-- without limit always has room.
if not refused and (kind == 'top-up' or kind == 'set') and less(MAX, plus(after, purse.held)) then
  refused = 'too much'
end
if not refused then
  purse.unlimited = kind == 'unlimited'
  move(purse, after, kind, id)
  redis.call('HSET', KEYS[3], id, table.concat({ kind, ARGV[3], shown() }, ' '))
  if redis.call('RPUSH', KEYS[4], id) > REMEMBERED then
    redis.call('HDEL', KEYS[3], redis.call('LPOP', KEYS[4]))
  end
end
save(purse)
return { refused or 'done', before, shown() }
