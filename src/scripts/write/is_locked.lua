-- Asks whether anybody writes.
-- Interchangeable with: RedissonWriteLock.isLocked
-- KEYS[1] lock name (hash)
-- Returns 1 or 0
-- Publishes nothing
return redis.call('hget', KEYS[1], 'mode') == 'write' and 1 or 0
