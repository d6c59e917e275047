-- Brings an owner's holds of some values of a group down to a count; at zero frees those that no other lock of the owner
-- has. Where one value is lost already, all of this lock is given up.
-- Interchangeable with: RedissonFasterMultiLock.unlockInnerAsync
-- KEYS[1] group name (hash)
-- ARGV[1] owner
-- ARGV[2] holds that remain
-- ARGV[3] time to live in ms for the holds that remain
-- ARGV[4] how to announce it, with the wake channel
-- ARGV[i] for each value its field, then the holds of the same owner on it by other locks
-- Returns 1 freed; 2 freed, but the wake-up was refused; 0 holds remain; nil not held by this owner
-- Publishes 0 on the wake channel when freed
-- Builds: no key, but the names of fields
-- Sweeps: some values whose time is over, all of them in a small group, since the hash outlives them
local at, name, owner, lost = now(), KEYS[1], ARGV[1], false
for i = 5, #ARGV, 2 do
  lost = lost or holder(name, ARGV[i], at) ~= owner
end
local kept = lost and 0 or tonumber(ARGV[2])
for i = 5, #ARGV, 2 do
  local holding, ends = holder(name, ARGV[i], at)
  local beside = tonumber(ARGV[i + 1])
  if holding == owner or redis.call('hget', name, ARGV[i]) == owner then
    local least = kept > 0 and at + ARGV[3] or 0
    set(name, ARGV[i], owner, kept + beside, beside > 0 and math.max(ends, least) or least)
  end
end
if kept > 0 then
  outlast(name, ARGV[3])
  return 0
end
for _, field in ipairs(redis.call('hrandfield', name, 48)) do
  local ended = not string.find(field, ':', 1, true) and redis.call('hget', name, field)
  if ended and not holder(name, field, at) then
    set(name, field, ended, 0)
  end
end
local refused = type(announce(ARGV[4], '0')) == 'table'
if lost then
  return nil
end
return refused and 2 or 1
