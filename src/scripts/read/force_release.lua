-- Frees the read side whoever holds it.
-- Interchangeable with: RedissonReadLock.forceUnlockAsync
-- KEYS[1] lock name (hash)
-- ARGV[1] how to announce it, with the wake channel
-- Returns 1 freed; 2 freed, but the wake-up was refused; 0 was not locked for reading
-- Publishes 0 on the wake channel when freed
if redis.call('hget', KEYS[1], 'mode') ~= 'read' then
  return 0
end
redis.call('del', KEYS[1])
return type(announce(ARGV[1], '0')) == 'table' and 2 or 1
