-- Gives a lock to another owner of the same client: it is not free in between, and nobody is told.
-- Interchangeable with: RedissonLock.unlockInner, and RedissonLock.tryLockInner of the other
-- KEYS[1] lock name (hash)
-- ARGV[1] owner field that has it
-- ARGV[2] owner field that gets it
-- ARGV[3] time to live in ms
-- Returns {1, 1} passed on; nil not held by the first
-- Publishes nothing
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return nil
end
redis.call('del', KEYS[1])
redis.call('hset', KEYS[1], ARGV[2], 1)
redis.call('pexpire', KEYS[1], ARGV[3])
return {1, 1}
