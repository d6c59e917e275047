-- Leaves the queue of a fair lock. If the lock is free, the next is called.
-- Interchangeable with: RedissonFairLock.acquireFailedAsync
-- KEYS[1] lock name (hash)
-- KEYS[2] queue (list)
-- KEYS[3] deadlines (sorted set)
-- ARGV[1] owner field
-- ARGV[2] how to announce it, with the stem of the wake channels
-- Returns 1 left; {1, head} left, and the lock is free, with whose turn it is; 0 had no place
-- Publishes 0 on the stem :<head> when the lock is free
-- Builds: the channel of the head, whom only the queue knows
local place, at = redis.call('lpos', KEYS[2], ARGV[1]), now()
redis.call('zrem', KEYS[3], ARGV[1])
if not place then
  return 0
end
redis.call('lrem', KEYS[2], 0, ARGV[1])
local left = redis.call('pttl', KEYS[1])
close_up(KEYS[2], KEYS[3], ARGV[2], place, at, left, 1)
if left == -2 then
  local head = turn(KEYS[2], KEYS[3], ARGV[2], at)
  return {1, head}
end
return 1
