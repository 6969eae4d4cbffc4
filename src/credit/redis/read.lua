-- Returns what a node needs to decide an adjustment: the credits, the adjustment that was made under its id, and all open
-- charges if it sets the balance. KEYS: those of a charge, then the adjustments. ARGV: the id, and `set` or something else.
local keys = keys_from(1)
local answer = { DUE, redis.call('GET', keys.state) or '', redis.call('HGET', KEYS[6], ARGV[1]) or '', '', '' }
if ARGV[2] == 'set' then
  local open = redis.call('HGETALL', keys.open)
  for place = 1, #open, 2 do
    -- Only leased blocks are closed.
    if open[place + 1]:find('^%d+ %d+ %d') then
      for _, word in ipairs({ open[place], open[place + 1], '0' }) do answer[#answer + 1] = word end
    end
  end
end
return answer
