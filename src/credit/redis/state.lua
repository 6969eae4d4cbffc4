-- An account's credits in one currency. The text is read once, changed in the script, and written at the end. Its form is
-- described in `model/text.rs`, which changes what depends on a calendar: scripts answer with the text where something is
-- due, and such a call is decided by the node and stored by `store.lua`.

-- The number of entries kept per account, and the number of entries that are written between two trims. Up to CUT more
-- entries exist between two trims.
local ENTRIES, CUT = 1000, 64

-- The time in milliseconds for which a closed charge is remembered. A charge that arrives later than this after its end
-- can no longer be on its way.
local KNOWN = 300000

-- The codes of answers. The order is that of `call.rs`.
local INSUFFICIENT, POSTED, NO_LIMIT, CLOSED, OVER_BUDGET, DUE, BUSY, DONE = '0', '1', '2', '3', '4', '5', '6', '7'

-- The time after all others.
local NEVER = '9223372036854775807'

-- Returns the server's own time in milliseconds. Sweeps use it, because the clocks of nodes may differ.
local function server_time()
  return ('%.0f'):format(math.floor(clock() / 1000))
end

-- Returns a value if a charge was closed recently, otherwise a false value.
local function has_ended(closed, id)
  return redis.call('ZSCORE', closed, id)
end

-- Returns the keys of an account, of which KEYS[key] is the first.
local function keys_from(key)
  return { state = KEYS[key], open = KEYS[key + 1], entries = KEYS[key + 2], closed = KEYS[key + 3], budgets = KEYS[key + 4] }
end

-- Returns the credits, or nothing if there are none or if an earlier version wrote them, and the text.
local function open_state(keys)
  local kept = redis.call('GET', keys.state) or ''
  if kept:sub(1, 2) ~= 'b ' then return nil, kept end
  local version, last, seen, unlimited, balance, pending, debt, lent, period, from, till, deadline, holder, list, rest =
    kept:match('^b (%d+) (%d+) (%-?%d+) ([01]) (%d+) (%d+) (%d+) (%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%S+)\n([^\n]+)\n(.*)$')
  if not rest then error('a balance cannot be read') end
  local buckets = {}
  for word in list:gmatch('[^ ]+') do
    local number, left, open, expired, id = word:match('^(%d+),(%d+),(%d+),([01]),(.+)$')
    if not id then error('a bucket cannot be read') end
    buckets[#buckets + 1] = { number = number, left = big(left), open = big(open), expired = expired, id = id }
  end
  return {
    keys = keys, version = tonumber(version), last = tonumber(last), seen = seen, unlimited = unlimited,
    balance = big(balance), pending = big(pending), debt = big(debt), lent = big(lent), period = period,
    from = tonumber(from), till = tonumber(till), deadline = deadline, times = from .. ' ' .. till .. ' ' .. deadline,
    holder = holder, buckets = buckets, rest = rest,
  }, kept
end

local function save(state)
  local list = {}
  for place, bucket in ipairs(state.buckets) do
    list[place] = table.concat({ bucket.number, text(bucket.left), text(bucket.open), bucket.expired, bucket.id }, ',')
  end
  redis.call('SET', state.keys.state, table.concat({ 'b', ('%.0f'):format(state.version + 1), ('%.0f'):format(state.last),
    state.seen, state.unlimited, text(state.balance), text(state.pending), text(state.debt), text(state.lent), state.period,
    state.times, state.holder }, ' ') .. '\n' .. table.concat(list, ' ') .. '\n' .. state.rest)
end

-- Returns true if a call under a grant of this period, or under none if the code is empty, makes no change by itself.
local function nothing_is_due(state, code, now)
  if code == '' then return now < tonumber(state.deadline) end
  return state.period == code and now < state.till and now >= state.from
end

-- Returns true if a node alone may change the text at the moment.
local function is_held(holder)
  local till = holder:match(':(%d+)$')
  return till and tonumber(till) > tonumber(server_time())
end

-- Returns what a node needs to decide a call: the text, the charge, whether it was closed recently, and the budget.
local function due(keys, kept, id, budget_key)
  local open, closed, budget = redis.call('HGET', keys.open, id) or '', has_ended(keys.closed, id) and '1' or '0', ''
  if budget_key == '' then budget_key = open:match('^%d+ %d+ %S+ %S+ (%x+):') or '' end
  if budget_key ~= '' then budget = redis.call('HGET', keys.budgets, budget_key) or '' end
  return { DUE, kept, '', budget_key, budget, id, open, closed }
end

-- Returns the sum of all buckets minus the debt, as text.
local function total(state)
  local sum = plus(state.balance, state.pending)
  if less(sum, state.debt) then return '-' .. text(plus(state.debt, sum, -1)) end
  return text(plus(sum, state.debt, -1))
end

-- Writes an entry for a change of a bucket.
local function tell(state, kind, id, amount, bucket, left)
  state.last = state.last + 1
  redis.call('LPUSH', state.keys.entries, table.concat({ ('%.0f'):format(state.last), kind, id, amount, total(state),
    state.seen, bucket, text(left) }, ' '))
  if state.last % CUT == 0 then redis.call('LTRIM', state.keys.entries, 0, ENTRIES - 1) end
end

local function is_zero(number) return not less(0, number) end

local function smaller(a, b) return less(a, b) and a or b end

-- Returns the difference, or zero if the second number is above the first.
local function minus(a, b) return less(a, b) and 0 or plus(a, b, -1) end

-- Removes a bucket without credits from which no open charge was drawn. The main bucket stays.
--
-- Returns true if it was removed.
local function remove_if_empty(state, place)
  local bucket = state.buckets[place]
  if bucket.number == '0' or not is_zero(bucket.left) or not is_zero(bucket.open) then return false end
  table.remove(state.buckets, place)
  return true
end

-- Takes an amount out of the buckets in their order, with a charge if `holds` is true. Returns the draws and the amount
-- that was not there.
local function take(state, amount, kind, id, holds)
  local draws, rest, place = {}, amount, 1
  while not is_zero(rest) and state.buckets[place] do
    local bucket = state.buckets[place]
    local taken = smaller(bucket.left, rest)
    place = place + 1
    if not is_zero(taken) then
      bucket.left, rest, state.balance = plus(bucket.left, taken, -1), plus(rest, taken, -1), plus(state.balance, taken, -1)
      if holds then bucket.open = plus(bucket.open, taken) end
      draws[#draws + 1] = { bucket.number, taken }
      tell(state, kind, id, '-' .. text(taken), bucket.id, bucket.left)
      if not holds and remove_if_empty(state, place - 1) then place = place - 1 end
    end
  end
  return draws, rest
end

-- Reads an open charge: the amount, the time, the committed amount of a block, the draws, and the budget's key and period.
local function read_charge(kept)
  local amount, time, rest = kept:match('^(%d+) (%d+)(.*)$')
  if not amount then error('an open charge cannot be read') end
  local committed, draws, budget = rest:match('^ (%S+) ?(%S*) ?(%S*)$')
  if rest ~= '' and not committed then error('an open charge cannot be read') end
  local list = {}
  if not draws or draws == '' or draws == '.' then
    list[1] = { '0', big(amount) }
  elseif draws:find('^%d+$') then
    list[1] = { draws, big(amount) }
  elseif draws ~= '-' then
    for number, part in draws:gmatch('(%d+):(%d+)') do list[#list + 1] = { number, big(part) } end
  end
  local key, turn = (budget or ''):match('^(%x+):(%d+)$')
  if committed == '.' or not committed then committed = nil else committed = big(committed) end
  return { amount = big(amount), time = time, committed = committed, draws = list, budget = key, turn = turn,
    rest = rest:match('^ %S+(.*)$') or '' }
end

-- Returns the stored form of a charge.
local function charge_text(amount, time, committed, draws, nothing, budget)
  local list = '.'
  if nothing then
    list = '-'
  elseif #draws > 1 then
    local parts = {}
    for place, draw in ipairs(draws) do parts[place] = draw[1] .. ':' .. text(draw[2]) end
    list = table.concat(parts, ',')
  elseif draws[1] and draws[1][1] ~= '0' then
    list = draws[1][1]
  end
  local words = amount .. ' ' .. time
  if committed == '.' and list == '.' and budget == '.' then return words end
  return table.concat({ words, committed, list, budget }, ' ')
end

-- Returns the part of a block that was drawn from the main bucket and lies beyond its committed amount.
local function main_part_beyond(draws, amount, committed)
  local beyond, part = minus(amount, committed), 0
  for place = #draws, 1, -1 do
    local now = smaller(beyond, draws[place][2])
    beyond = plus(beyond, now, -1)
    if draws[place][1] == '0' then part = plus(part, now) end
  end
  return part
end

-- Reads a key's budget: see `model/text.rs`.
local function read_budget(keys, key)
  local kept = redis.call('HGET', keys.budgets, key)
  if not kept then return nil end
  local spent, turn, open, from, till, idle, at, period, rest =
    kept:match('^(%d+) (%d+) (%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (.*)$')
  if not rest then error('a budget cannot be read') end
  return { key = key, spent = big(spent), turn = turn, open = tonumber(open), from = from, till = till, period = period,
    rest = table.concat({ from, till, idle, at, period, rest }, ' ') }
end

local function save_budget(keys, budget)
  redis.call('HSET', keys.budgets, budget.key,
    table.concat({ text(budget.spent), budget.turn, ('%d'):format(budget.open), budget.rest }, ' '))
end

-- Removes a charge from the open charges, and remembers it as closed.
local function forget_charge(keys, id)
  redis.call('HDEL', keys.open, id)
  redis.call('ZADD', keys.closed, server_time(), id)
  redis.call('ZREMRANGEBYSCORE', keys.closed, '-inf', server_time() - KNOWN)
  redis.call('PEXPIRE', keys.closed, KNOWN)
end
