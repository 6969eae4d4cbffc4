-- Removes an account's credits in all currencies. KEYS: the name of the credits in the default currency, which all other
-- names begin with. ARGV: the ends of the names of one currency. Returns the number of removed keys.
local names, gone = { KEYS[1] }, 0
for _, currency in ipairs(redis.call('SMEMBERS', KEYS[1] .. ':currencies')) do
  names[#names + 1] = KEYS[1] .. ':in:' .. currency
end
for _, name in ipairs(names) do
  for _, rest in ipairs(ARGV) do gone = gone + redis.call('DEL', name .. rest) end
end
redis.call('DEL', KEYS[1] .. ':currencies')
return gone
