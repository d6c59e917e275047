-- Renews, or only looks at, many locks at once; a bad key never stops its neighbours.
-- Interchangeable with: LockTask.renew
-- KEYS[i] lock name (hash)
-- ARGV in runs of locks with equal times: the time to live in ms, raised to (0 looks and changes nothing); the longest time in
-- ms that anybody can have asked for (far above it the clock was set back, and it is lowered to that); the number of locks;
-- and their owners' fields
-- Returns per lock: 1 held; 0 no such key; -1 held by others only; -2 not a lock
-- Publishes nothing
local answers, arg, more, ttl, most = {}, 1, 0, 0, 0
for i, name in ipairs(KEYS) do
  if more == 0 then
    ttl, most, more = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
    arg = arg + 3
  end
  local held = redis.pcall('hexists', name, ARGV[arg])
  arg, more = arg + 1, more - 1
  if type(held) == 'table' then
    answers[i] = -2
  elseif held == 1 then
    if ttl > 0 then
      local left = ttl < most and redis.call('pttl', name) or 0
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
