-- Takes permits for several callers at once, in their order; who does not fit is passed over.
-- Interchangeable with: RSemaphore.tryAcquire
-- KEYS[1] mark of this client
-- KEYS[2] semaphore name (string)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[i] permits wanted, from 3 on, for each caller
-- Returns {'10..', 1}: for each caller 1 served or 0 not
-- Publishes nothing
local free = tonumber(redis.call('get', KEYS[2]) or '0')
if not free then
  return redis.error_reply('WRONGTYPE the value is not a number')
end
local taken, answers = 0, {}
for i = 3, #ARGV do
  local wanted = tonumber(ARGV[i])
  if free - taken >= wanted then
    taken = taken + wanted
    answers[i - 2] = '1'
  else
    answers[i - 2] = '0'
  end
end
local answer = table.concat(answers)
if taken > 0 then
  redis.call('decrby', KEYS[2], taken)
  redis.call('set', KEYS[1], table.concat({ARGV[1], answer}, ':'), 'px', ARGV[2])
end
return {answer, 1}
