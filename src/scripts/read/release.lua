-- Brings an owner's read holds down to a count. What remains lasts as long as the longest marker of any reader; the
-- lock is freed when there is none.
-- Interchangeable with: RedissonReadLock.unlockInnerAsync
-- KEYS[1] lock name (hash)
-- KEYS[2] what the markers' names begin with; never there, so that no server acts while some markers are at another: with
-- a key missing, a slot on the move turns the request away
-- KEYS[i] this owner's markers, as many as it may have
-- ARGV[1] owner field
-- ARGV[2] read holds that remain
-- ARGV[3] time to live in ms for the holds that remain
-- ARGV[4] how to announce it, with the wake channel
-- Returns 1 freed; 2 freed, but the wake-up was refused; 0 somebody still holds it; nil not held by this owner
-- Publishes 0 on the wake channel when freed
-- Builds: the markers of other readers, whose names only the hash knows: KEYS[2] :<field>:rwlock_timeout:<number>
local kept = tonumber(ARGV[2])
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return nil
end
for i = 3, #KEYS do
  if i - 2 > kept then
    redis.call('del', KEYS[i])
  elseif redis.call('pexpire', KEYS[i], ARGV[3]) == 0 then
    redis.call('set', KEYS[i], 1, 'px', ARGV[3])
  end
end
if kept == 0 then
  redis.call('hdel', KEYS[1], ARGV[1])
elseif redis.call('hget', KEYS[1], ARGV[1]) ~= ARGV[2] then
  redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
end
local longest, fields = 0, redis.call('hgetall', KEYS[1])
for i = 1, #fields, 2 do
  for hold = math.min(tonumber(fields[i + 1]) or 0, 1000), 1, -1 do
    local marker = KEYS[2] .. ':' .. fields[i] .. ':rwlock_timeout:' .. hold
    longest = math.max(longest, redis.call('pttl', marker))
  end
end
local writing = redis.call('hget', KEYS[1], 'mode') == 'write'
if longest > (writing and redis.call('pttl', KEYS[1]) or 0) then
  redis.call('pexpire', KEYS[1], longest)
end
if longest > 0 or writing then
  return 0
end
redis.call('del', KEYS[1])
return type(announce(ARGV[4], '0')) == 'table' and 2 or 1
