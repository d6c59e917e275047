-- Gives a fenced lock to another owner of the same client, with the next number of the counter: it is not free in between,
-- and nobody is told.
-- Interchangeable with: RedissonLock.unlockInner, and RedissonFencedLock.tryLockAndGetTokenInnerAsync of the other
-- KEYS[1] lock name (hash)
-- KEYS[2] fencing counter
-- ARGV[1] owner field that has it
-- ARGV[2] owner field that gets it
-- ARGV[3] time to live in ms
-- ARGV[4] highest token its client has seen
-- Returns {1, 1, token} passed on; nil not held by the first; {3, counter} nothing done, since the counter is behind what
-- was seen
-- Publishes nothing
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return nil
end
local counter = tonumber(redis.call('get', KEYS[2]) or 0)
if counter and counter < tonumber(ARGV[4]) then
  return {3, counter}
end
local token = redis.call('incr', KEYS[2])
redis.call('del', KEYS[1])
redis.call('hset', KEYS[1], ARGV[2], 1)
redis.call('pexpire', KEYS[1], ARGV[3])
return {1, 1, token}
