-- Takes or re-enters a fenced lock. A first hold takes the next number of the counter, a re-entry keeps that of its hold
-- or takes one where it has none.
-- Interchangeable with: RedissonFencedLock.tryLockInner, RedissonFencedLock.tryLockAndGetTokenInnerAsync
-- KEYS[1] lock name (hash)
-- KEYS[2] fencing counter
-- ARGV[1] time to live in ms
-- ARGV[2] owner field
-- ARGV[3] holds of this owner once this one is granted, as its client counts them
-- ARGV[4] highest token its client has seen
-- ARGV[5] token of the hold that is entered again; 0 for none
-- Returns {1, holds, token} granted; {0, ms left} busy, where -1 means no time to live; {2, 0} nothing granted, since
-- the holds the client counts on are gone; {3, counter} nothing granted, since the counter is behind what was seen
-- Publishes nothing
local free = redis.call('exists', KEYS[1]) == 0
if free and ARGV[3] ~= '1' then
  return {2, 0}
end
if not free and redis.call('hexists', KEYS[1], ARGV[2]) == 0 then
  return {0, redis.call('pttl', KEYS[1])}
end
local token = tonumber(ARGV[5])
if free or token == 0 then
  local counter = tonumber(redis.call('get', KEYS[2]) or 0)
  if counter and counter < tonumber(ARGV[4]) then
    return {3, counter}
  end
  token = redis.call('incr', KEYS[2])
end
redis.call('hset', KEYS[1], ARGV[2], ARGV[3])
if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('pexpire', KEYS[1], ARGV[1])
end
return {1, tonumber(ARGV[3]), token}
