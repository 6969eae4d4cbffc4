-- Stores what a node has decided, if nothing has changed meanwhile. KEYS: those of a charge, then the adjustments, their
-- ids (oldest first), and the currencies. ARGV: the version that was read, empty for no credits; the new text, empty for no
-- change; the name of the call; `hold` if the call may hold the credits for a moment, so that it is not overtaken again;
-- the currency, empty for the default one; the number of charges that were read, then each id with what was read of it;
-- and then groups of four words: `entry` and a line; `open`, an id and a text; `close` and an id; `budget`, a key and a
-- text; `made`, an id and a text.
local REMEMBERED, HELD = 1024, 100
local keys = keys_from(1)
local kept = redis.call('GET', keys.state) or ''
local holder = kept:match('^b [^\n]* (%S+)\n')
if holder and is_held(holder) and holder:match('^(.*):%d+$') ~= ARGV[3] then return { BUSY } end

local at, fresh = 7, ARGV[1] == (kept:match('^b (%d+) ') or kept)
for _ = 1, tonumber(ARGV[6]) do
  local open = redis.call('HGET', keys.open, ARGV[at]) or ''
  local closed = has_ended(keys.closed, ARGV[at]) and '1' or '0'
  fresh = fresh and open == ARGV[at + 1] and closed == ARGV[at + 2]
  at = at + 3
end
if not fresh then
  if ARGV[4] == 'hold' and holder then
    local first, rest = kept:match('^(b [^\n]* )%S+(\n.*)$')
    redis.call('SET', keys.state, first .. ARGV[3] .. ':' .. ('%.0f'):format(server_time() + HELD) .. rest)
  end
  return { BUSY }
end

if ARGV[2] ~= '' then
  redis.call('SET', keys.state, ARGV[2])
  if kept == '' and ARGV[5] ~= '' then redis.call('SADD', KEYS[8], ARGV[5]) end
end
local trims = false
for place = at, #ARGV, 4 do
  local what, name, value = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  if what == 'entry' then
    trims = redis.call('LPUSH', keys.entries, value) > ENTRIES + CUT or trims
  elseif what == 'open' then
    local time = (redis.call('HGET', keys.open, name) or ''):match('^%d+ (%d+)') or server_time()
    redis.call('HSET', keys.open, name, (value:gsub('@', time)))
  elseif what == 'close' then
    forget_charge(keys, name)
  elseif what == 'budget' then
    redis.call('HSET', keys.budgets, name, value)
  else
    redis.call('HSET', KEYS[6], name, value)
    if redis.call('RPUSH', KEYS[7], name) > REMEMBERED then redis.call('HDEL', KEYS[6], redis.call('LPOP', KEYS[7])) end
  end
end
if trims then redis.call('LTRIM', keys.entries, 0, ENTRIES - 1) end
return { DONE, '1' }
