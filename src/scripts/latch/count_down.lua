-- Counts a latch down, and opens it at zero.
-- Interchangeable with: RCountDownLatch.countDown, as often as ARGV[3] says
-- KEYS[1] mark of this client
-- KEYS[2] latch name (string)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] how far
-- ARGV[4] how to announce it, with the wake channel
-- Returns {count that is left, heard}
-- Publishes 0 on the wake channel when it opens
local before = tonumber(redis.call('get', KEYS[2]) or '0')
if not before then
  return redis.error_reply('WRONGTYPE the value is not a number')
end
local left = before - ARGV[3]
if left > 0 then
  redis.call('decrby', KEYS[2], ARGV[3])
else
  left = 0
  redis.call('del', KEYS[2])
end
redis.call('set', KEYS[1], table.concat({ARGV[1], left}, ':'), 'px', ARGV[2])
if left == 0 and before > 0 and type(announce(ARGV[4], '0')) == 'table' then
  return {left, 0}
end
return {left, 1}
