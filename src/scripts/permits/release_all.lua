-- Gives permits back, all of them or none.
-- Interchangeable with: RPermitExpirableSemaphore.tryRelease(list)
-- KEYS[1] mark of this client
-- KEYS[2] semaphore name (string)
-- KEYS[3] permits in use (sorted set: id, end)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] how to announce it, with the wake channel
-- ARGV[i] id of a permit, from 4 on, each once
-- Returns {permits given back, heard}; {nil, 1} when one of them is unknown or has ended
-- Publishes how many were given back on the wake channel
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 4, #ARGV do
  local ends = redis.call('zscore', KEYS[3], ARGV[i])
  if not ends or tonumber(ends) <= now then
    return {false, 1}
  end
end
local given = #ARGV - 3
redis.call('incrby', KEYS[2], given)
for i = 4, #ARGV do
  redis.call('zrem', KEYS[3], ARGV[i])
end
redis.call('set', KEYS[1], table.concat({ARGV[1], given}, ':'), 'px', ARGV[2])
if type(announce(ARGV[3], given)) == 'table' then
  return {given, 0}
end
return {given, 1}
