-- One account's balance, in one string: what is left, what is held by open charges, the number of the last entry, the time
-- of the last call, when the grant is due, whether there is no limit, and what is out in blocks and not committed. It is
-- read once, changed here, and written at the end.

-- How many entries are kept, or up to as many more as are written between two cuts.
local ENTRIES, CUT = 1000, 64

local function open_purse(key, entries)
  local kept = redis.call('GET', key)
  if not kept then
    return { key = key, entries = entries, balance = 0, held = 0, last = 0, seen = '0', due = 'none', lent = 0 }
  end
  local balance, held, last, seen, due, unlimited, lent =
    kept:match('^(%d+) (%d+) (%d+) (%-?%d+) (%S+) ([01]) (%d+)$')
  if not balance or (due ~= 'none' and not due:find('^%-?%d+$')) then error('a balance cannot be read') end
  return {
    key = key, entries = entries, balance = big(balance), held = big(held), last = tonumber(last),
    seen = seen, due = due, unlimited = unlimited == '1', lent = big(lent),
  }
end

local function save(purse)
  if not purse.changed then return end
  redis.call('SET', purse.key, text(purse.balance) .. ' ' .. text(purse.held) .. ' ' .. text(purse.last) .. ' ' ..
    purse.seen .. ' ' .. purse.due .. ' ' .. (purse.unlimited and '1 ' or '0 ') .. text(purse.lent))
end

-- Moves the balance, and writes down what moved it.
local function move(purse, balance, kind, id)
  local amount
  if less(balance, purse.balance) then
    amount = '-' .. text(plus(purse.balance, balance, -1))
  else
    amount = text(plus(balance, purse.balance, -1))
  end
  purse.balance, purse.last, purse.changed = balance, purse.last + 1, true
  redis.call('LPUSH', purse.entries, text(purse.last) .. ' ' .. kind .. ' ' .. id .. ' ' .. amount .. ' ' ..
    (purse.unlimited and 'unlimited' or text(balance)) .. ' ' .. purse.seen)
  if purse.last % CUT == 0 then redis.call('LTRIM', purse.entries, 0, ENTRIES - 1) end
end

-- Notes the time of a call, and gives the grant that has come due. From ARGV[at] on: the time; the grant's amount, empty
-- where there is none; when it comes next, if it comes now; and its period, or zero where the calendar says when.
local function call(purse, at)
  local now, amount = ARGV[at], ARGV[at + 1]
  purse.seen = now
  if amount == '' then return end
  local turn, period, due = ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(purse.due)
  if due and tonumber(now) < due then return end
  if due and period > 0 then
    -- Whole periods on, however many have passed.
    local passed = math.floor((tonumber(now) - due) / period)
    turn = ('%.0f'):format(math.min(due + (passed + 1) * period, 9007199254740991))
  end
  purse.due, purse.changed = turn, true
  local granted, room = big(amount), plus(MAX, purse.held, -1)
  -- What may come back from a node is in the amount: it does not pile up.
  granted = less(granted, purse.lent) and 0 or plus(granted, purse.lent, -1)
  if less(room, granted) then granted = room end
  if not purse.unlimited and less(purse.balance, granted) then move(purse, granted, 'grant', '-') end
end
