-- Renews, or only looks at, many read holds at once, each with its markers; a bad key never stops its neighbours.
-- Interchangeable with: ReadLockTask.renew
-- KEYS[i] for each lock its name (hash), then the markers of this owner's holds
-- ARGV[3i-2] owner field of lock i
-- ARGV[3i-1] time to live in ms of lock i, raised to and never lowered; 0 looks and changes nothing
-- ARGV[3i] number of markers of lock i
-- Returns per lock: 1 held; 0 not held by this owner any more; -1 held for writing; -2 not a lock
-- Publishes nothing
local answers, at = {}, 1
for i = 1, #ARGV / 3 do
  local name, ttl, markers = KEYS[at], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  local held = redis.pcall('hexists', name, ARGV[3 * i - 2])
  if type(held) == 'table' then
    answers[i] = -2
  elseif held == 0 then
    answers[i] = redis.call('hget', name, 'mode') == 'write' and -1 or 0
  else
    answers[i] = 1
    for key = at + markers, ttl == '0' and at + markers + 1 or at, -1 do
      local left = redis.call('pttl', KEYS[key])
      if left == -2 then
        redis.pcall('set', KEYS[key], 1, 'px', ttl)
      elseif left < tonumber(ttl) then
        redis.call('pexpire', KEYS[key], ttl)
      end
    end
  end
  at = at + markers + 1
end
return answers
