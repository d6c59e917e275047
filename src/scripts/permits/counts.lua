-- Counts permits. Those that have ended go back first, ten thousand at most; the figures take in the rest.
-- Interchangeable with: RPermitExpirableSemaphore.availablePermits, acquiredPermits, getPermits
-- KEYS[1] semaphore name (string)
-- KEYS[2] permits in use (sorted set: id, end)
-- ARGV[1] how to announce it, with the wake channel
-- Returns {available, in use, 1 when the semaphore is there or 0}
-- Publishes the permits there are on the wake channel when some had ended
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for slice = 1, 10 do
  local ended = redis.call('zrangebyscore', KEYS[2], 0, now, 'limit', 0, 1000)
  if #ended == 0 then
    break
  end
  local total = redis.call('incrby', KEYS[1], #ended)
  redis.call('zrem', KEYS[2], unpack(ended))
  announce(ARGV[1], total)
end
local free = tonumber(redis.call('get', KEYS[1]) or '0')
if not free then
  return redis.error_reply('WRONGTYPE the value is not a number')
end
local ended = redis.call('zcount', KEYS[2], 0, now)
return {free + ended, redis.call('zcard', KEYS[2]) - ended, redis.call('exists', KEYS[1])}
