-- Takes permits for several callers at once, in their order; who does not fit is passed over, who is served already
-- is served.
-- Interchangeable with: RPermitExpirableSemaphore.tryAcquire
-- KEYS[1] semaphore name (string)
-- KEYS[2] permits in use (sorted set: id, end)
-- ARGV[1] end of a permit without a lease
-- ARGV[2] how to announce it, with the wake channel
-- ARGV[i] from 3 on, for each caller: permits wanted, lease in ms or 0 for none, an id for each permit
-- Returns {ms to the next end, or -1; for each caller 1 served or 0 not}
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
  announce(ARGV[2], total)
end
local free, answers, i = tonumber(redis.call('get', KEYS[1]) or '-1'), {-1}, 3
if not free then
  return redis.error_reply('WRONGTYPE the value is not a number')
end
while i <= #ARGV do
  local wanted, lease = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local served = redis.call('zscore', KEYS[2], ARGV[i + 2])
  if not served and free >= wanted then
    free, served = redis.call('decrby', KEYS[1], wanted), true
    local ends = lease > 0 and string.format('%.0f', now + lease) or ARGV[1]
    for id = i + 2, i + 1 + wanted do
      redis.call('zadd', KEYS[2], ends, ARGV[id])
    end
  end
  answers[#answers + 1] = served and 1 or 0
  i = i + 2 + wanted
end
if redis.call('pttl', KEYS[1]) > 0 then
  redis.call('pexpire', KEYS[2], redis.call('pttl', KEYS[1]))
end
local first = redis.call('zrange', KEYS[2], 0, 0, 'withscores')[2]
answers[1] = first and first ~= ARGV[1] and math.max(first - now, 0) or -1
return answers
