-- Frees a spin lock whoever holds it.
-- Interchangeable with: RedissonSpinLock.forceUnlockAsync
-- KEYS[1] lock name (hash)
-- Returns 1 freed; 0 was not locked
-- Publishes nothing
return redis.call('del', KEYS[1])
