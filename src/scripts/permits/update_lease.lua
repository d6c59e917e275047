-- Gives a permit a new lease, from now on. Those who wait hear of a lease that ends earlier than before.
-- Interchangeable with: RPermitExpirableSemaphore.updateLeaseTime
-- KEYS[1] permits in use (sorted set: id, end)
-- ARGV[1] id of the permit
-- ARGV[2] lease in ms; 0 for none
-- ARGV[3] end of a permit without a lease
-- ARGV[4] how to announce it, with the wake channel
-- Returns 1 changed; 0 unknown, or ended already
-- Publishes 1 on the wake channel when the lease ends earlier than before
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = tonumber(redis.call('zscore', KEYS[1], ARGV[1]) or '0')
if before <= now then
  return 0
end
local ends = ARGV[3]
if ARGV[2] ~= '0' then
  ends = string.format('%.0f', now + ARGV[2])
end
redis.call('zadd', KEYS[1], ends, ARGV[1])
if tonumber(ends) < before then
  announce(ARGV[4], '1')
end
return 1
