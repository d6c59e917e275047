-- Raises a fencing counter to a number, never lowers it.
-- Interchangeable with: nothing of Redisson's, which has no such call
-- KEYS[1] fencing counter
-- ARGV[1] the number
-- Returns the counter as it is then
-- Publishes nothing
local counter = tonumber(redis.call('get', KEYS[1]) or 0)
if counter and counter < tonumber(ARGV[1]) then
  redis.call('set', KEYS[1], ARGV[1])
  return tonumber(ARGV[1])
end
return counter
