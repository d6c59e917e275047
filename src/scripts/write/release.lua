-- Brings an owner's write holds down to a count; at zero frees the lock, or leaves it to the reads of the same owner.
-- Interchangeable with: RedissonWriteLock.unlockInnerAsync
-- KEYS[1] lock name (hash)
-- KEYS[2] wake channel
-- ARGV[1] owner's write field
-- ARGV[2] write holds that remain
-- ARGV[3] time to live in ms for the holds that remain
-- ARGV[4] publish command
-- Returns 1 freed for others; 2 freed, but the wake-up was refused; 0 holds remain; nil not held by this owner
-- Publishes 1 on KEYS[2] when freed, also when the owner reads on, for other readers may come in then
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return nil
end
local reads = redis.call('hlen', KEYS[1]) > 2
if ARGV[2] ~= '0' then
  redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
  if not reads or redis.call('pttl', KEYS[1]) < tonumber(ARGV[3]) then
    redis.call('pexpire', KEYS[1], ARGV[3])
  end
  return 0
end
redis.call('hdel', KEYS[1], ARGV[1])
if reads then
  redis.call('hset', KEYS[1], 'mode', 'read')
else
  redis.call('del', KEYS[1])
end
return type(redis.pcall(ARGV[4], KEYS[2], '1')) == 'table' and 2 or 1
