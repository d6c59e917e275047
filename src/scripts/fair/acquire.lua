-- Takes or re-enters a fair lock if it is the owner's turn; otherwise gives it a place in the queue, if it stays.
-- Interchangeable with: RedissonFairLock.tryLockInnerAsync
-- KEYS[1] lock name (hash)
-- KEYS[2] queue (list)
-- KEYS[3] deadlines (sorted set)
-- ARGV[1] time to live in ms
-- ARGV[2] owner field
-- ARGV[3] holds of this owner once this one is granted, as its client counts them
-- ARGV[4] how to announce it, with the stem of the wake channels
-- ARGV[5] 1 when the owner stays, 0 when it only tries
-- ARGV[6] 1 when the owner has had a place before, else 0
-- Returns {1, holds} granted; {0, ms left} busy, where -1 means no time to live; {2, 0} nothing granted, since the
-- holds the client counts on are gone
-- Publishes 0 on the stem :<head> when the lock is free and it is somebody else's turn
-- Builds: the channel of the head, whom only the queue knows
local at, locked = now(), redis.call('exists', KEYS[1]) == 1
if locked and redis.call('hexists', KEYS[1], ARGV[2]) == 1 then
  redis.call('hset', KEYS[1], ARGV[2], ARGV[3])
  if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('pexpire', KEYS[1], ARGV[1])
  end
  return {1, tonumber(ARGV[3])}
end
if not locked and ARGV[3] ~= '1' then
  return {2, 0}
end
if ARGV[5] == '1' and (locked or redis.call('exists', KEYS[2]) == 1) then
  -- Behind all, or in front where it was put out of its turn.
  local place = redis.call('lpos', KEYS[2], ARGV[2])
  if not place then
    local length = redis.call(ARGV[6] == '1' and 'lpush' or 'rpush', KEYS[2], ARGV[2])
    place = ARGV[6] == '1' and 0 or length - 1
  end
  keep_place(KEYS[2], KEYS[3], ARGV[2], place, at)
end
local head = not locked and turn(KEYS[2], KEYS[3], ARGV[4], at, ARGV[2])
if locked or (head and head ~= ARGV[2]) then
  return {0, locked and redis.call('pttl', KEYS[1]) or 1000}
end
if head then
  redis.call('lpop', KEYS[2])
  redis.call('zrem', KEYS[3], ARGV[2])
  close_up(KEYS[2], KEYS[3], ARGV[4], 0, at, tonumber(ARGV[1]), 1)
end
redis.call('hset', KEYS[1], ARGV[2], 1)
redis.call('pexpire', KEYS[1], ARGV[1])
return {1, 1}
