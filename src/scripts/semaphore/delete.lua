-- Deletes a semaphore, of either kind, and says nothing to those who wait.
-- Interchangeable with: RSemaphore.delete, RPermitExpirableSemaphore.delete
-- KEYS[1] mark of this client
-- KEYS[i] everything the semaphore has, from 2 on
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- Returns {1, 1} deleted; {nil, 1} there was none
-- Publishes nothing
if redis.call('del', unpack(KEYS, 2)) == 0 then
  return {false, 1}
end
redis.call('set', KEYS[1], table.concat({ARGV[1], '1'}, ':'), 'px', ARGV[2])
return {1, 1}
