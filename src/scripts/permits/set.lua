-- Sets how many permits there are in all, those in use included.
-- Interchangeable with: RPermitExpirableSemaphore.setPermits
-- KEYS[1] mark of this client
-- KEYS[2] semaphore name (string)
-- KEYS[3] permits in use (sorted set: id, end)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] permits
-- ARGV[4] how to announce it, with the wake channel
-- Returns {permits, heard}; {nil, 1} when there are that many
-- Publishes the permits on the wake channel when their number changed
local free = redis.call('get', KEYS[2])
if not free then
  redis.call('set', KEYS[2], ARGV[3])
else
  if not tonumber(free) then
    return redis.error_reply('WRONGTYPE the value is not a number')
  end
  local more = ARGV[3] - free - redis.call('zcount', KEYS[3], 0, '+inf')
  if more == 0 then
    return {false, 1}
  end
  redis.call('incrby', KEYS[2], more)
end
redis.call('set', KEYS[1], table.concat({ARGV[1], ARGV[3]}, ':'), 'px', ARGV[2])
if type(announce(ARGV[4], ARGV[3])) == 'table' then
  return {ARGV[3], 0}
end
return {ARGV[3], 1}
