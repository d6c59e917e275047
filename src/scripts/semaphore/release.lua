-- Adds permits and keeps the time to live.
-- Interchangeable with: RSemaphore.release, RSemaphore.releaseIfExists
-- KEYS[1] mark of this client
-- KEYS[2] semaphore name (string)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] permits
-- ARGV[4] how to announce it, with the wake channel
-- ARGV[5] 1 only if the semaphore is there; 0 in any case
-- Returns {total, heard}: heard is 0 when the message was refused; {nil, 1} when nothing was done
-- Publishes the new total on the wake channel
if ARGV[5] == '1' and redis.call('exists', KEYS[2]) == 0 then
  return {false, 1}
end
local total = redis.call('incrby', KEYS[2], ARGV[3])
redis.call('set', KEYS[1], table.concat({ARGV[1], total}, ':'), 'px', ARGV[2])
if type(announce(ARGV[4], total)) == 'table' then
  return {total, 0}
end
return {total, 1}
