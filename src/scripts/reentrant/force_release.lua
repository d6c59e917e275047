-- Frees a plain lock whoever holds it.
-- Interchangeable with: RedissonLock.forceUnlock
-- KEYS[1] lock name (hash)
-- KEYS[2] wake channel
-- ARGV[1] publish command
-- Returns 1 freed; 2 freed, but the wake-up was refused; 0 was not locked
-- Publishes 0 on KEYS[2] when freed
if redis.call('del', KEYS[1]) == 0 then
  return 0
end
if type(announce(ARGV[1], KEYS[2], '0')) == 'table' then
  return 2
end
return 1
