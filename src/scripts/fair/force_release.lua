-- Frees a fair lock whoever holds it, and calls whose turn it is. The queue stays.
-- Interchangeable with: RedissonFairLock.forceUnlockAsync
-- KEYS[1] lock name (hash)
-- KEYS[2] queue (list)
-- KEYS[3] deadlines (sorted set)
-- ARGV[1] how to announce it, with the stem of the wake channels
-- Returns 1 freed; 2 freed, but the wake-up was refused; 0 was not locked
-- Publishes 0 on the stem :<head> when freed
-- Builds: the channel of the head, whom only the queue knows
if redis.call('del', KEYS[1]) == 0 then
  return 0
end
local _, refused = turn(KEYS[2], KEYS[3], ARGV[1], now())
return refused and 2 or 1
