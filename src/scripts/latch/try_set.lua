-- Sets the count of a latch that is open.
-- Interchangeable with: RCountDownLatch.trySetCount
-- KEYS[1] mark of this client
-- KEYS[2] latch name (string)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] count
-- ARGV[4] how to announce it, with the wake channel
-- Returns {count, heard} when set; {nil, 1} when there was a count
-- Publishes 1 on the wake channel when set
if redis.call('exists', KEYS[2]) == 1 then
  return {false, 1}
end
redis.call('set', KEYS[2], ARGV[3])
redis.call('set', KEYS[1], table.concat({ARGV[1], ARGV[3]}, ':'), 'px', ARGV[2])
if type(announce(ARGV[4], '1')) == 'table' then
  return {ARGV[3], 0}
end
return {ARGV[3], 1}
