-- Looks at many waited-for latches at once, so that a lost wake-up is found out.
-- Interchangeable with: RCountDownLatch.getCount
-- KEYS[i] latch name (string)
-- Returns per latch: -2 open; -1 not
-- Publishes nothing
local answers = {}
for i, name in ipairs(KEYS) do
  local count = redis.pcall('get', name)
  answers[i] = type(count) == 'string' and (tonumber(count) or 0) > 0 and -1 or -2
end
return answers
