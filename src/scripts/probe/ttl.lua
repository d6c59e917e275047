-- Looks at many waited-for locks at once, so that a lost wake-up is found out.
-- Interchangeable with: RLock.remainTimeToLive
-- KEYS[i] lock name
-- Returns per lock: ms left; -1 no time to live; -2 free
-- Publishes nothing
local answers = {}
for i, name in ipairs(KEYS) do
  answers[i] = redis.call('pttl', name)
end
return answers
