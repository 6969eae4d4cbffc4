-- One account's balance. It is read once, changed here, and written at the end.

-- How many entries are kept, or a few more.
local ENTRIES = 1000

-- A whole number as text, such as a time; what else may stand there is an error.
local function whole(kept)
  if kept and not kept:find('^%-?%d+$') then error('a balance holds no time') end
  return kept
end

local function open_purse(key, entries)
  local kept = redis.call('HMGET', key, 'balance', 'held', 'last', 'seen', 'due', 'unlimited')
  return {
    key = key, entries = entries, changed = false,
    balance = big(kept[1] or '0'), held = big(kept[2] or '0'),
    last = tonumber(whole(kept[3]) or 0), seen = whole(kept[4]) or '0',
    due = whole(kept[5]), unlimited = kept[6] == '1',
  }
end

local function save(purse)
  if not purse.changed then return end
  redis.call('HSET', purse.key, 'balance', text(purse.balance), 'held', text(purse.held), 'last', purse.last,
    'seen', purse.seen, 'unlimited', purse.unlimited and '1' or '0')
  if purse.turned then redis.call('HSET', purse.key, 'due', purse.due) end
end

-- Moves the balance, and writes down what moved it.
local function move(purse, balance, kind, id)
  local amount
  if less(balance, purse.balance) then
    amount = '-' .. text(minus(purse.balance, balance))
  else
    amount = text(minus(balance, purse.balance))
  end
  purse.balance, purse.last, purse.changed = balance, purse.last + 1, true
  local left = purse.unlimited and 'unlimited' or text(balance)
  redis.call('XADD', purse.entries, 'MAXLEN', '~', ENTRIES, ('%d-0'):format(purse.last),
    'entry', table.concat({ kind, id, amount, left, purse.seen }, ' '))
end

-- Notes the time of a call, and gives the grant that has come due. From ARGV[at] on: the time; the grant's amount, empty
-- where there is none; when it comes next, if it comes now; and its period, or zero where the calendar says when.
local function call(purse, at)
  local now, amount, turn, period = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  purse.seen = now
  if amount == '' then return end
  local due = purse.due and tonumber(purse.due)
  if due and tonumber(now) < due then return end
  if due and period > 0 then
    -- Whole periods on, however many have passed.
    local passed = math.floor((tonumber(now) - due) / period)
    turn = ('%.0f'):format(math.min(due + (passed + 1) * period, 9007199254740991))
  end
  purse.due, purse.turned, purse.changed = turn, true, true
  -- What may come back from a node is in the amount: it does not pile up.
  local lent = big(redis.call('HGET', purse.key, 'lent') or '0')
  local granted, room = big(amount), minus(MAX, purse.held)
  granted = less(granted, lent) and ZERO or minus(granted, lent)
  if less(room, granted) then granted = room end
  if not purse.unlimited and less(purse.balance, granted) then move(purse, granted, 'grant', '-') end
end
