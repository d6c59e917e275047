-- Renews, or only looks at, many locks at once; a bad key never stops its neighbours.
-- Interchangeable with: LockTask.renew
-- KEYS[i] lock name (hash)
-- ARGV[3i-2] owner field of lock i
-- ARGV[3i-1] time to live in ms of lock i, raised to; 0 looks and changes nothing
-- ARGV[3i] the longest time in ms that anybody can have asked for; far above it the clock was set back, and it is lowered to that
-- Returns per lock: 1 held; 0 no such key; -1 held by others only; -2 not a lock
-- Publishes nothing
local answers = {}
for i, name in ipairs(KEYS) do
  local ttl, most = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local held = redis.pcall('hexists', name, ARGV[3 * i - 2])
  if type(held) == 'table' then
    answers[i] = -2
  elseif held == 1 then
    if ttl > 0 then
      local left = redis.call('pttl', name)
      if left < ttl then
        redis.call('pexpire', name, ttl)
      elseif left > 2 * most then
        redis.call('pexpire', name, most)
      end
    end
    answers[i] = 1
  else
    answers[i] = -redis.call('exists', name)
  end
end
return answers
