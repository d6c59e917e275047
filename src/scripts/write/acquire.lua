-- Takes or re-enters the write side.
-- Interchangeable with: RedissonWriteLock.tryLockInner
-- KEYS[1] lock name (hash)
-- ARGV[1] time to live in ms
-- ARGV[2] owner's write field
-- ARGV[3] write holds of this owner once this one is granted, as its client counts them
-- Returns {1, holds} granted; {0, ms left} busy, where -1 means no time to live; {2, 0} nothing granted, since the
-- holds the client counts on are gone
-- Publishes nothing
if redis.call('exists', KEYS[1]) == 0 then
  if ARGV[3] ~= '1' then
    return {2, 0}
  end
  redis.call('hset', KEYS[1], 'mode', 'write', ARGV[2], 1)
  redis.call('pexpire', KEYS[1], ARGV[1])
  return {1, 1}
end
if redis.call('hexists', KEYS[1], ARGV[2]) == 0 then
  return {0, redis.call('pttl', KEYS[1])}
end
redis.call('hset', KEYS[1], ARGV[2], ARGV[3])
if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('pexpire', KEYS[1], ARGV[1])
end
return {1, tonumber(ARGV[3])}
