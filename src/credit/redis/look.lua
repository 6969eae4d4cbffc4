-- Returns what a node needs to decide a call about a charge. KEYS are those of a charge. ARGV: the id, and the budget's key,
-- empty without one.
local keys = keys_from(1)
return due(keys, redis.call('GET', keys.state) or '', ARGV[1], ARGV[2])
