-- Frees the write side whoever holds it.
-- Interchangeable with: RedissonWriteLock.forceUnlockAsync
-- KEYS[1] lock name (hash)
-- ARGV[1] how to announce it, with the wake channel
-- Returns 1 freed; 2 freed, but the wake-up was refused; 0 was not locked for writing
-- Publishes 1 on the wake channel when freed
if redis.call('hget', KEYS[1], 'mode') ~= 'write' then
  return 0
end
redis.call('del', KEYS[1])
return type(announce(ARGV[1], '1')) == 'table' and 2 or 1
