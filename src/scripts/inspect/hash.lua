-- Reads a lock's fields and time to live in one look.
-- Interchangeable with: RLock.isLocked, RLock.getHoldCount, RLock.remainTimeToLive
-- KEYS[1] lock name (hash)
-- Returns {ms left, field, value, field, value, ...}; ms left is -2 when free and -1 without a time to live
-- Publishes nothing
local answer = redis.call('hgetall', KEYS[1])
table.insert(answer, 1, redis.call('pttl', KEYS[1]))
return answer
