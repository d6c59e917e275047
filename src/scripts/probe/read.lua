-- Looks at many locks waited for by readers at once.
-- Interchangeable with: RedissonReadLock.remainTimeToLive
-- KEYS[i] lock name (hash)
-- Returns per lock: ms left; -1 no time to live; -2 a reader could come in
-- Publishes nothing
local answers = {}
for i, name in ipairs(KEYS) do
  answers[i] = redis.pcall('hget', name, 'mode') == 'read' and -2 or redis.call('pttl', name)
end
return answers
