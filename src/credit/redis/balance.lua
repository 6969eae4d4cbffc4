-- One account's balance, stored in one string: the remaining amount, the amount of the open charges, the number of the
-- last entry, the time of the last call, the time of the next grant, the flag for no limit, the uncommitted amount of
-- the blocks, the code of the grant's period, and the time of the next grant by clocks that were set back. If a clock
-- leapt, the earliest time of a grant by such clocks follows. The string is read once, changed in the script, and written at the end.

-- The number of entries kept per account, and the number of entries that are written between two trims. Up to CUT more
-- entries exist between two trims.
local ENTRIES, CUT = 1000, 64

local function open_balance(key, entries)
  local kept = redis.call('GET', key)
  if not kept then
    return { key = key, entries = entries, balance = 0, held = 0, last = 0, seen = '0', due = 'none', lent = 0,
      period = '0', again = 'none', floor = 'none', moved = 0 }
  end
  local balance, held, last, seen, due, unlimited, lent, rest =
    kept:match('^(%d+) (%d+) (%d+) (%-?%d+) (%S+) ([01]) (%d+)(.*)$')
  local period, again, floor, moved = '0', 'none', 'none', '4294967295'
  -- A balance that was written before periods were recorded ends here.
  if rest and rest ~= '' then
    period, again, floor = rest:match('^ (%-?%d+) (%S+) ?(%S*)$')
    if floor == '' then floor = 'none' end
    floor, moved = (floor or ''):match('^([^/]*)/?(%d*)$')
    if moved == '' then moved = '4294967295' end
  end
  local function time(text) return text == 'none' or text:find('^%-?%d+$') end
  if not balance or not again or not time(due) or not time(again) or not time(floor) then error('a balance cannot be read') end
  return {
    key = key, entries = entries, balance = big(balance), held = big(held), last = tonumber(last),
    seen = seen, due = due, unlimited = unlimited == '1', lent = big(lent), period = period, again = again,
    floor = floor, moved = tonumber(moved),
  }
end

local function save(account)
  if not account.changed then return end
  redis.call('SET', account.key, text(account.balance) .. ' ' .. text(account.held) .. ' ' .. text(account.last) .. ' ' ..
    account.seen .. ' ' .. account.due .. ' ' .. (account.unlimited and '1 ' or '0 ') .. text(account.lent) ..
    ' ' .. account.period .. ' ' .. account.again .. (account.floor == 'none' and '' or ' ' .. account.floor .. '/' .. text(account.moved)))
end

-- Changes the balance, and writes an entry for the change.
local function move(account, balance, kind, id)
  local amount
  if less(balance, account.balance) then
    amount = '-' .. text(plus(account.balance, balance, -1))
  else
    amount = text(plus(balance, account.balance, -1))
  end
  account.balance, account.last, account.changed = balance, account.last + 1, true
  redis.call('LPUSH', account.entries, text(account.last) .. ' ' .. kind .. ' ' .. id .. ' ' .. amount .. ' ' ..
    (account.unlimited and 'unlimited' or text(balance)) .. ' ' .. account.seen)
  if account.last % CUT == 0 then redis.call('LTRIM', account.entries, 0, ENTRIES - 1) end
end

-- Returns the first due time after `now`, in whole periods from `due`.
local function turn_of(due, now, period)
  return ('%.0f'):format(math.min(due + (math.floor((now - due) / period) + 1) * period, 9007199254740991))
end

-- Moves the floor forward by a period after a grant. `first` is the floor if there was none.
local function move_floor(account, first, mean)
  if account.floor == 'none' then account.floor, account.moved = first, 0 end
  account.floor = ('%.0f'):format(math.min(tonumber(account.floor) + mean, 9007199254740991))
  account.moved = math.min(account.moved + 1, 4294967295)
end

-- Returns true if the grant is applied now, and records the next due time. From ARGV[at] on: the arguments of `call`.
local function turns(account, at)
  local now, turn, every, code = tonumber(ARGV[at]), ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4]
  local due, again = tonumber(account.due), tonumber(account.again)
  local next, floor, mean = again or due, tonumber(account.floor), tonumber(ARGV[at + 6])
  if due and account.period ~= code and account.period ~= '0' then
    account.due, account.again, account.floor, account.period, account.changed = turn, 'none', 'none', code, true
    return false
  end
  if due and now < next then
    -- Use the due time after the next one: if two clocks differ by more than a period, only the clock that is ahead may
    -- cause grants.
    local second = tonumber(ARGV[at + 5])
    if next > second then
      if floor and floor > second + account.moved * mean then
        floor = second + account.moved * mean
        account.floor, account.changed = ('%.0f'):format(floor), true
      end
      -- A calendar's periods differ from their mean length by less than an eighth.
      local moved = floor and floor > second + math.floor(mean / 8) and account.floor or ARGV[at + 5]
      if tonumber(moved) >= due then moved = 'none' end
      if moved ~= account.again or account.period ~= code then
        account.again, account.period, account.changed = moved, code, true
      end
    end
    return false
  end
  if due and now < due and tonumber(turn) >= due then
    -- The clock is in the period before `due`: its grant was applied while the clock was ahead.
    account.again, account.changed = 'none', true
    return false
  end
  if due and every > 0 then turn = turn_of(next, now, every) end
  if due and now < due then
    account.again = tonumber(turn) < due and turn or 'none'
    move_floor(account, ('%.0f'):format(next), mean)
  else
    local has_leapt = due and tonumber(turn) - due > math.floor(mean / 2) * 3
    if floor or has_leapt then move_floor(account, account.due, mean) end
    account.due, account.again = turn, 'none'
  end
  account.period, account.changed = code, true
  return true
end

-- Records the time of a call, and applies the grant that is due. From ARGV[at] on: the time; the grant's amount, empty
-- if there is none; its next due time if it is applied now; its period, or zero if the calendar defines it; the code of
-- the period; the due time after the next one; and the mean length of the period.
local function call(account, at)
  local amount = ARGV[at + 1]
  account.seen = ARGV[at]
  if amount == '' or not turns(account, at) then return end
  local granted, room = big(amount), plus(MAX, account.held, -1)
  -- Uncommitted credits may be returned, so they count as part of the grant: the sum must not exceed it.
  granted = less(granted, account.lent) and 0 or plus(granted, account.lent, -1)
  if less(room, granted) then granted = room end
  if not account.unlimited and less(account.balance, granted) then move(account, granted, 'grant', '-') end
end
