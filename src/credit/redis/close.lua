-- Closes a charge. KEYS are those of a charge. ARGV: the id; the cost; the kind of the entries of credits that are
-- returned; `abandoned` if no node holds the charge any more or `alive` otherwise; the time, empty for none; the code of
-- the grant's period, empty without a grant; and `debt` or `cap`. An abandoned block is closed at its committed amount.
-- Returns 1 if the charge was open, otherwise 0.
local keys, id, cost, kind, gone, now = keys_from(1), ARGV[1], big(ARGV[2]), ARGV[3], ARGV[4] == 'abandoned', tonumber(ARGV[5])
local kept = redis.call('HGET', keys.open, id)
if not kept and kind == 'refund' and not gone and not has_ended(keys.closed, id) then
  -- The charge may still be on its way: bar it, so that it is not taken.
  redis.call('HSET', keys.open, id, 'void ' .. server_time())
end
if not kept or kept:find('^void') then return { DONE, '0' } end
local charge = read_charge(kept)
local state, all = open_state(keys)
if state and is_held(state.holder) then return { BUSY } end
if not state then return due(keys, all, id, '') end
if charge.committed and gone then cost, kind = charge.committed, is_zero(charge.committed) and 'refund' or 'settlement' end

local amount, draws = charge.amount, charge.draws
local back, more = minus(amount, cost), minus(cost, amount)
local above, nothing = not is_zero(more), #draws == 0
if now then
  if above and not nothing_is_due(state, ARGV[6], now) then return due(keys, all, id, '') end
  if not above and now >= tonumber(state.deadline) then return due(keys, all, id, '') end
  if above or state.deadline ~= NEVER then state.seen = ARGV[5] end
end
-- What is paid, expired or never returned is decided by the node.
if not nothing and (state.unlimited == '1' or not is_zero(state.debt) and not is_zero(back)) then
  return due(keys, all, id, '')
end
local places = {}
for place, bucket in ipairs(state.buckets) do places[bucket.number] = place end
for _, draw in ipairs(draws) do
  local bucket = state.buckets[places[draw[1]]]
  if not bucket or (bucket.expired == '1' and not is_zero(back)) then return due(keys, all, id, '') end
end

if charge.committed then state.lent = minus(state.lent, main_part_beyond(draws, amount, charge.committed)) end
local left = back
for place = #draws, 1, -1 do
  local drawn = draws[place][2]
  local bucket = state.buckets[places[draws[place][1]]]
  bucket.open = minus(bucket.open, drawn)
  local now_back = smaller(left, drawn)
  if not is_zero(now_back) then
    left = plus(left, now_back, -1)
    bucket.left, state.balance = plus(bucket.left, now_back), plus(state.balance, now_back)
    tell(state, kind, id, text(now_back), bucket.id, bucket.left)
  end
end
for place = #state.buckets, 1, -1 do remove_if_empty(state, place) end

local charged = more
if above and not nothing then
  local _, rest = take(state, more, 'overage', id, false)
  charged = plus(more, rest, -1)
  local owed = ARGV[7] == 'debt' and smaller(rest, minus(MAX, state.debt)) or 0
  if not is_zero(owed) then
    state.debt, charged = plus(state.debt, owed), plus(charged, owed)
    tell(state, 'overage', id, '-' .. text(owed), 'debt', state.debt)
  end
end
local budget = charge.budget and read_budget(keys, charge.budget)
if budget then
  budget.open = math.max(budget.open - 1, 0)
  if budget.turn == charge.turn then budget.spent = smaller(plus(minus(budget.spent, back), charged), MAX) end
  save_budget(keys, budget)
end
forget_charge(keys, id)
save(state)
return { DONE, '1' }
