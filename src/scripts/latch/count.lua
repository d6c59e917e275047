-- Reads the count of a latch.
-- Interchangeable with: RCountDownLatch.getCount
-- KEYS[1] latch name (string)
-- Returns the count; 0 open
-- Publishes nothing
local count = tonumber(redis.call('get', KEYS[1]) or '0')
return count or redis.error_reply('WRONGTYPE the value is not a number')
