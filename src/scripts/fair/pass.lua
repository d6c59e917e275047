-- Gives a fair lock to another owner of the same client, if it is its turn; otherwise frees it and calls whose turn it is.
-- Interchangeable with: RedissonFairLock.unlockInnerAsync, and RedissonFairLock.tryLockInnerAsync of the other
-- KEYS[1] lock name (hash)
-- KEYS[2] queue (list)
-- KEYS[3] deadlines (sorted set)
-- ARGV[1] owner field that has it
-- ARGV[2] owner field that gets it
-- ARGV[3] time to live in ms
-- ARGV[4] how to announce it, with the stem of the wake channels
-- ARGV[5] how many places have gone by since the deadlines behind them were seen to, 0 to do it another time
-- Returns {1, 1} passed on; {1, head} freed, with whose turn it is; {2, head} the same, but the wake-up was refused; nil
-- not held by the first
-- Publishes 0 on the stem :<head> when freed
-- Builds: the channel of the head, whom only the queue knows
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return nil
end
redis.call('del', KEYS[1])
local at = now()
local head, refused = turn(KEYS[2], KEYS[3], ARGV[4], at, ARGV[2])
if head ~= ARGV[2] then
  return {refused and 2 or 1, head}
end
if ARGV[5] ~= '0' then
  keep_place(KEYS[2], KEYS[3], ARGV[2], 0, at)
end
redis.call('lpop', KEYS[2])
redis.call('zrem', KEYS[3], ARGV[2])
close_up(KEYS[2], KEYS[3], ARGV[4], 0, at, tonumber(ARGV[3]), tonumber(ARGV[5]))
redis.call('hset', KEYS[1], ARGV[2], 1)
redis.call('pexpire', KEYS[1], ARGV[3])
return {1, 1}
