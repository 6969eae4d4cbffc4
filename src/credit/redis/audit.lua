-- Returns an account's credits as of one moment: the text, the number of entries, the entries (newest first), and each open
-- charge. KEYS are those of a charge.
local answer = redis.call('LRANGE', KEYS[3], 0, -1)
table.insert(answer, 1, ('%d'):format(#answer))
table.insert(answer, 1, redis.call('GET', KEYS[1]) or '')
for _, word in ipairs(redis.call('HVALS', KEYS[2])) do answer[#answer + 1] = word end
return answer
