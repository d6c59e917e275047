-- Brings an owner's holds of a fair lock down to a count; at zero frees it and calls whose turn it is.
-- Interchangeable with: RedissonFairLock.unlockInnerAsync
-- KEYS[1] lock name (hash)
-- KEYS[2] queue (list)
-- KEYS[3] deadlines (sorted set)
-- ARGV[1] owner field
-- ARGV[2] holds that remain
-- ARGV[3] time to live in ms for the holds that remain
-- ARGV[4] how to announce it, with the stem of the wake channels
-- Returns {1, head} freed, with whose turn it is; {2, head} the same, but the wake-up was refused; 0 holds remain; nil not
-- held by this owner
-- Publishes 0 on the stem :<head> when freed
-- Builds: the channel of the head, whom only the queue knows
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
local head, refused = turn(KEYS[2], KEYS[3], ARGV[4], now())
return {refused and 2 or 1, head}
