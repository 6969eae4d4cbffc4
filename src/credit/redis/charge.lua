-- Takes a charge. From KEYS[key] on: the credits, the open charges, the entries, the closed charges and the budgets. From
-- ARGV[at] on: the id; the amount; the time; the code of the grant's period, empty without a grant; the committed amount
-- of a block, empty for another charge; and the budget's key, the code of its period and its amount, empty without one.
-- Returns a code and the balance, or what is left of the budget and the start of its next period.
local function charge(key, at)
  local keys = keys_from(key)
  local id, amount, now, budget_key = ARGV[at], big(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 5]
  local state, kept = open_state(keys)
  if state and is_held(state.holder) then return { BUSY } end
  if not state or not nothing_is_due(state, ARGV[at + 3], tonumber(now)) then return due(keys, kept, id, budget_key) end
  local unlimited = state.unlimited == '1'
  if unlimited and budget_key == '' then return { NO_LIMIT, '0' } end
  local answer, open = unlimited and NO_LIMIT or POSTED, redis.call('HGET', keys.open, id)
  if has_ended(keys.closed, id) or (open and open:find('^void')) then return { CLOSED, '0' } end
  if open then return { answer, text(state.balance) } end
  if not unlimited and less(state.balance, amount) then return { INSUFFICIENT, text(state.balance) } end

  local of_budget = '.'
  if budget_key ~= '' then
    local budget, most = read_budget(keys, budget_key), big(ARGV[at + 7])
    local time = tonumber(now)
    if not budget or budget.period ~= ARGV[at + 6] or time >= tonumber(budget.till) or time < tonumber(budget.from) then
      return due(keys, kept, id, budget_key)
    end
    local spent = plus(budget.spent, amount)
    if less(most, spent) then return { OVER_BUDGET, text(minus(most, budget.spent)), budget.till } end
    budget.spent, budget.open = spent, budget.open + 1
    save_budget(keys, budget)
    of_budget = budget_key .. ':' .. budget.turn
  end

  state.seen = now
  local draws, committed = {}, '.'
  if not unlimited then
    draws = take(state, amount, 'charge', id, true)
    if ARGV[at + 4] ~= '' then
      local part = smaller(big(ARGV[at + 4]), amount)
      committed, state.lent = text(part), plus(state.lent, main_part_beyond(draws, amount, part))
    end
  end
  redis.call('HSET', keys.open, id, charge_text(ARGV[at + 1], server_time(), committed, draws, unlimited, of_budget))
  save(state)
  return { answer, text(state.balance) }
end
