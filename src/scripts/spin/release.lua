-- Brings an owner's holds of a spin lock down to a count; at zero frees the lock. Nobody is woken: all waiters look.
-- Interchangeable with: RedissonSpinLock.unlockInnerAsync
-- KEYS[1] lock name (hash)
-- ARGV[1] owner field
-- ARGV[2] holds that remain
-- ARGV[3] time to live in ms for the holds that remain
-- Returns 1 freed; 0 holds remain; nil not held by this owner
-- Publishes nothing
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return nil
end
if ARGV[2] ~= '0' then
  redis.call('pexpire', KEYS[1], ARGV[3])
  if redis.call('hget', KEYS[1], ARGV[1]) ~= ARGV[2] then
    redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
  end
  return 0
end
redis.call('del', KEYS[1])
return 1
