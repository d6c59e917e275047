-- Brings an owner's holds down to a count; at zero frees the lock and wakes one waiter per process.
-- Interchangeable with: RedissonLock.unlockInner
-- KEYS[1] lock name (hash)
-- ARGV[1] owner field
-- ARGV[2] holds that remain
-- ARGV[3] time to live in ms for the holds that remain
-- ARGV[4] how to announce it, with the wake channel
-- Returns 1 freed; 2 freed, but the wake-up was refused; 2 + n freed, and n clients besides this one have heard, or one
-- where nobody knows; 0 holds remain; nil not held by this owner
-- Publishes 0 on the wake channel when freed
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
local heard = announce(ARGV[4], '0')
if type(heard) == 'table' then
  return 2
end
return heard < 0 and 3 or heard > 1 and heard + 1 or 1
