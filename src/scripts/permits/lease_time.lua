-- How long a permit lasts.
-- Interchangeable with: RPermitExpirableSemaphore.getLeaseTime
-- KEYS[1] permits in use (sorted set: id, end)
-- ARGV[1] id of the permit
-- ARGV[2] end of a permit without a lease
-- Returns ms left; -1 without a lease; -2 unknown, or ended already
-- Publishes nothing
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('zscore', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= now then
  return -2
end
return ends == ARGV[2] and -1 or ends - now
