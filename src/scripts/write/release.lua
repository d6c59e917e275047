-- Brings an owner's write holds down to a count; at zero frees the lock, or leaves it to the reads of the same owner for as
-- long as their markers last.
-- Interchangeable with: RedissonWriteLock.unlockInnerAsync
-- KEYS[1] lock name (hash)
-- KEYS[2] what the markers' names begin with; never there, so that no server acts while some markers are at another: with
-- a key missing, a slot on the move turns the request away
-- ARGV[1] owner's write field
-- ARGV[2] write holds that remain
-- ARGV[3] time to live in ms for the holds that remain
-- ARGV[4] how to announce it, with the wake channel
-- ARGV[5] the same owner's read field
-- Returns 1 freed for others; 2 freed, but the wake-up was refused; 2 + n freed, and n clients besides this one have heard;
-- 0 holds remain; nil not held by this owner
-- Publishes 1 on the wake channel when freed, also when the owner reads on, for other readers may come in then
-- Builds: the markers of the owner's reads: KEYS[2] :<read field>:rwlock_timeout:<number>
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return nil
end
local longest = 0
for hold = math.min(tonumber(redis.call('hget', KEYS[1], ARGV[5]) or 0), 5000), 1, -1 do
  longest = math.max(longest, redis.call('pttl', KEYS[2] .. ':' .. ARGV[5] .. ':rwlock_timeout:' .. hold))
end
if ARGV[2] ~= '0' then
  redis.call('pexpire', KEYS[1], math.max(longest, tonumber(ARGV[3])))
  if redis.call('hget', KEYS[1], ARGV[1]) ~= ARGV[2] then
    redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
  end
  return 0
end
if longest > 0 then
  redis.call('hdel', KEYS[1], ARGV[1])
  redis.call('hset', KEYS[1], 'mode', 'read')
  redis.call('pexpire', KEYS[1], longest)
else
  redis.call('del', KEYS[1])
end
local heard = announce(ARGV[4], '1')
if type(heard) == 'table' then
  return 2
end
return heard < 0 and 3 or heard > 1 and heard + 1 or 1
