-- Answers a question about some values of a group.
-- Interchangeable with: RedissonFasterMultiLock.isLockedAsync, RedissonFasterMultiLock.isHeldByThreadAsync
-- KEYS[1] group name (hash)
-- ARGV[1] locked, held, holds or left
-- ARGV[2] owner
-- ARGV[i] field of a value
-- Returns locked: 1 when any value is held, else 0; held: 1 when all are held by the owner, else 0; holds: how often the
-- owner has entered the value it has entered least; left: ms until the last one ends, -2 when none is held
-- Publishes nothing
-- Builds: no key, but the names of fields
local at, locked, held, holds, latest = now(), 0, 1, nil, -2
for i = 3, #ARGV do
  local owner, ends = holder(KEYS[1], ARGV[i], at)
  local count = 0
  if owner then
    locked, latest = 1, math.max(latest, ends - at)
  end
  if owner == ARGV[2] then
    count = tonumber(redis.call('hget', KEYS[1], ARGV[i] .. ':' .. owner .. ':lock_count') or 0)
  else
    held = 0
  end
  holds = math.min(holds or count, count)
end
return ({locked = locked, held = held, holds = holds or 0, left = latest})[ARGV[1]]
