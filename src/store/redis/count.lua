-- KEYS: the count of announcements, and a name that is never set. The DEL deletes nothing, but a replica rejects it: a
-- listener that reads from a replica learns that it receives no changes there.
redis.call('DEL', KEYS[2])
return redis.call('GET', KEYS[1])
