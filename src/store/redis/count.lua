-- KEYS: the count of what was announced, a name that is never set. Nothing is deleted, but a replica refuses to: who asks one learns
-- that it hears of no changes there.
redis.call('DEL', KEYS[2])
return redis.call('GET', KEYS[1])
