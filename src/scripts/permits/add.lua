-- Adds permits, or takes them away, and ends the time to live.
-- Interchangeable with: RPermitExpirableSemaphore.addPermits
-- KEYS[1] mark of this client
-- KEYS[2] semaphore name (string)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] permits, may be negative
-- ARGV[4] how to announce it, with the wake channel
-- Returns {permits there are, heard}
-- Publishes ARGV[3] on the wake channel when it is positive
local total = redis.call('incrby', KEYS[2], ARGV[3])
redis.call('persist', KEYS[2])
redis.call('set', KEYS[1], table.concat({ARGV[1], total}, ':'), 'px', ARGV[2])
if tonumber(ARGV[3]) > 0 and type(announce(ARGV[4], ARGV[3])) == 'table' then
  return {total, 0}
end
return {total, 1}
