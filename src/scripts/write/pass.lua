-- Gives the write side to another owner of the same client, unless the first reads as well: it is not free in between, and
-- nobody is told.
-- Interchangeable with: RedissonWriteLock.unlockInnerAsync, and RedissonWriteLock.tryLockInner of the other
-- KEYS[1] lock name (hash)
-- ARGV[1] write field that has it
-- ARGV[2] write field that gets it
-- ARGV[3] time to live in ms
-- Returns {1, 1} passed on; nil not held by the first; {2, 0} nothing done, since the first reads
-- Publishes nothing
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return nil
end
if redis.call('hlen', KEYS[1]) ~= 2 then
  return {2, 0}
end
redis.call('del', KEYS[1])
redis.call('hset', KEYS[1], 'mode', 'write', ARGV[2], 1)
redis.call('pexpire', KEYS[1], ARGV[3])
return {1, 1}
