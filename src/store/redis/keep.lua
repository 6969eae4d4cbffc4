-- KEYS: the entry. ARGV: its time, its life, its text, its key and its account (both empty if there is no such key).
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local moment = tonumber(ARGV[1])
local left = moment + tonumber(ARGV[2]) - now
if left <= 0 then return 0 end

-- An entry of a read that began later is newer: keep it.
local other = redis.pcall('HGET', KEYS[1], 'moment')
other = type(other) == 'string' and tonumber(other)
if other and other <= now and other > moment then return 0 end

redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'moment', ARGV[1], 'life', ARGV[2], 'text', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'key', ARGV[4], 'account', ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], math.ceil(left / 1000))
return 1
