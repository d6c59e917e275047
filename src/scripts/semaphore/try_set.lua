-- Sets the permits of a semaphore that is not there yet.
-- Interchangeable with: RSemaphore.trySetPermits, RPermitExpirableSemaphore.trySetPermits
-- KEYS[1] mark of this client
-- KEYS[2] semaphore name (string)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] permits
-- ARGV[4] how to announce it, with the wake channel
-- ARGV[5] time to live of the semaphore in ms; 0 for none
-- Returns {permits, heard} when set; {nil, 1} when it was there
-- Publishes the permits on the wake channel when set
if redis.call('get', KEYS[2]) then
  return {false, 1}
end
if ARGV[5] == '0' then
  redis.call('set', KEYS[2], ARGV[3])
else
  redis.call('set', KEYS[2], ARGV[3], 'px', ARGV[5])
end
redis.call('set', KEYS[1], table.concat({ARGV[1], ARGV[3]}, ':'), 'px', ARGV[2])
if type(announce(ARGV[4], ARGV[3])) == 'table' then
  return {ARGV[3], 0}
end
return {ARGV[3], 1}
