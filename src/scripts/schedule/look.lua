-- Reads how long it is until a job is due, and what time it is.
-- Interchangeable with: nothing of Redisson's, which leaves it to a lease that nobody gives back
-- KEYS[1] record of the last run (string)
-- Returns {ms left, now in ms since 1970}; ms left is -2 where the job is due
-- Publishes nothing
local now = redis.call('time')
return {redis.call('pttl', KEYS[1]), now[1] * 1000 + math.floor(now[2] / 1000)}
