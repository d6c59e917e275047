-- Takes or re-enters the read side. Each hold has a marker key with a time to live of its own.
-- Interchangeable with: RedissonReadLock.tryLockInner
-- KEYS[1] lock name (hash)
-- KEYS[2] marker of this hold
-- ARGV[1] time to live in ms
-- ARGV[2] owner field
-- ARGV[3] read holds of this owner once this one is granted, as its client counts them
-- ARGV[4] the same owner's write field
-- Returns {1, holds} granted; {0, ms left} busy, where -1 means no time to live; {2, 0} nothing granted, since the
-- holds the client counts on are gone
-- Publishes nothing
local mode = redis.call('hget', KEYS[1], 'mode')
local admits = mode == 'read' or (mode == 'write' and redis.call('hexists', KEYS[1], ARGV[4]) == 1)
if not admits and redis.call('exists', KEYS[1]) == 1 then
  return {0, redis.call('pttl', KEYS[1])}
end
if ARGV[3] ~= '1' and redis.call('hexists', KEYS[1], ARGV[2]) == 0 then
  return {2, 0}
end
if not mode then
  redis.call('hset', KEYS[1], 'mode', 'read')
end
redis.call('hset', KEYS[1], ARGV[2], ARGV[3])
redis.call('set', KEYS[2], 1, 'px', ARGV[1])
if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('pexpire', KEYS[1], ARGV[1])
end
return {1, tonumber(ARGV[3])}
