-- Notes that a job has run, until its period is over, unless somebody else has the lock by now.
-- Interchangeable with: nothing of Redisson's, which leaves it to a lease that nobody gives back
-- KEYS[1] lock name (hash)
-- KEYS[2] record of the last run (string)
-- ARGV[1] owner field of who ran it
-- ARGV[2] end of the period in ms since 1970
-- Returns 1 noted, or the period is over; 0 nothing done, since others have the lock
-- Publishes nothing
if redis.call('exists', KEYS[1]) == 1 and redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local now = redis.call('time')
local left = ARGV[2] - now[1] * 1000 - math.floor(now[2] / 1000)
if left > 0 then
  redis.call('set', KEYS[2], ARGV[1], 'px', string.format('%.0f', left))
end
return 1
