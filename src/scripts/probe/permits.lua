-- Looks at many waited-for semaphores with leases at once: for permits, and for leases that have ended.
-- Interchangeable with: RPermitExpirableSemaphore.availablePermits
-- KEYS[i] semaphore name (string), and its permits in use (sorted set: id, end), in turn
-- ARGV[i] fewest permits anybody waits for
-- Returns per semaphore: -2 worth trying; -1 not
-- Publishes nothing
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i = 1, #ARGV do
  local free = redis.pcall('get', KEYS[2 * i - 1])
  local ended = redis.pcall('zcount', KEYS[2 * i], 0, now)
  local busy = type(free) == 'string' and (tonumber(free) or 0) < tonumber(ARGV[i]) or not free
  answers[i] = busy and ended == 0 and -1 or -2
end
return answers
