-- Renews, or only looks at, many locks at once; a bad key never stops its neighbours.
-- Interchangeable with: LockTask.renew
-- KEYS[i] lock name (hash)
-- ARGV[2i-1] owner field of lock i
-- ARGV[2i] time to live in ms of lock i, raised to and never lowered; 0 looks and changes nothing
-- Returns per lock: 1 held; 0 no such key; -1 held by others only; -2 not a lock
-- Publishes nothing
local answers = {}
for i, name in ipairs(KEYS) do
  local held = redis.pcall('hexists', name, ARGV[2 * i - 1])
  if type(held) == 'table' then
    answers[i] = -2
  elseif held == 1 then
    if ARGV[2 * i] ~= '0' and redis.call('pttl', name) < tonumber(ARGV[2 * i]) then
      redis.call('pexpire', name, ARGV[2 * i])
    end
    answers[i] = 1
  else
    answers[i] = -redis.call('exists', name)
  end
end
return answers
