-- Asks whether anybody reads: as readers do, or as a writer who reads as well.
-- Interchangeable with: RedissonReadLock.isLocked
-- KEYS[1] lock name (hash)
-- Returns 1 or 0
-- Publishes nothing
local mode = redis.call('hget', KEYS[1], 'mode')
return (mode == 'read' or (mode == 'write' and redis.call('hlen', KEYS[1]) > 2)) and 1 or 0
