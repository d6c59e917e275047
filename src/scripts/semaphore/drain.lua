-- Takes all permits there are, and ends the time to live.
-- Interchangeable with: RSemaphore.drainPermits
-- KEYS[1] mark of this client
-- KEYS[2] semaphore name (string)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- Returns {permits taken, 1}; {nil, 1} when the semaphore is not there
-- Publishes nothing
local all = redis.call('get', KEYS[2])
if not all then
  return {false, 1}
end
if not tonumber(all) then
  return redis.error_reply('WRONGTYPE the value is not a number')
end
redis.call('set', KEYS[2], '0')
redis.call('set', KEYS[1], table.concat({ARGV[1], all}, ':'), 'px', ARGV[2])
return {all, 1}
