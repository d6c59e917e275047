-- Looks at many waited-for semaphores at once, so that a lost wake-up is found out.
-- Interchangeable with: RSemaphore.availablePermits
-- KEYS[i] semaphore name (string)
-- ARGV[i] fewest permits anybody waits for
-- Returns per semaphore: -2 worth trying; -1 not
-- Publishes nothing
local answers = {}
for i, name in ipairs(KEYS) do
  local free = redis.pcall('get', name)
  if type(free) == 'string' and (tonumber(free) or 0) < tonumber(ARGV[i]) or not free then
    answers[i] = -1
  else
    answers[i] = -2
  end
end
return answers
