-- Frees a plain lock whoever holds it.
-- Interchangeable with: RedissonLock.forceUnlock
-- KEYS[1] lock name (hash)
-- ARGV[1] how to announce it, with the wake channel
-- Returns 1 freed; 2 freed, but the wake-up was refused; 0 was not locked
-- Publishes 0 on the wake channel when freed
if redis.call('del', KEYS[1]) == 0 then
  return 0
end
if type(announce(ARGV[1], '0')) == 'table' then
  return 2
end
return 1
