-- Takes or re-enters some values of a group, all of them or none.
-- Interchangeable with: RedissonFasterMultiLock.tryLockInnerAsync
-- KEYS[1] group name (hash)
-- ARGV[1] time to live in ms
-- ARGV[2] owner
-- ARGV[3] holds of this lock once this one is granted, as its client counts them
-- ARGV[i] for each value its field, then the holds of the same owner on it by other locks
-- Returns {1, holds} granted; {0, ms left} busy; {2, 0} nothing granted, since the holds the client counts on are gone
-- Publishes nothing
-- Builds: no key, but the names of fields
local at, name, owner = now(), KEYS[1], ARGV[2]
local latest, vanished = 0, false
for i = 4, #ARGV, 2 do
  local other, ends = holder(name, ARGV[i], at)
  if other and other ~= owner then
    latest = math.max(latest, ends)
  elseif not other and ARGV[3] ~= '1' then
    return {2, 0}
  end
  vanished = vanished or (not other and ARGV[i + 1] ~= '0')
end
if latest > 0 or vanished then
  return {0, latest > 0 and latest - at or 1000}
end
for i = 4, #ARGV, 2 do
  local before, ends = redis.call('hget', name, ARGV[i]), select(2, holder(name, ARGV[i], at))
  if before and before ~= owner then
    set(name, ARGV[i], before, 0)
  end
  set(name, ARGV[i], owner, ARGV[3] + ARGV[i + 1], math.max(ends, at + ARGV[1]))
end
outlast(name, ARGV[1])
return {1, tonumber(ARGV[3])}
