-- Deletes a latch, which opens it.
-- Interchangeable with: RCountDownLatch.delete
-- KEYS[1] mark of this client
-- KEYS[2] latch name (string)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] how to announce it, with the wake channel
-- Returns {1, heard} deleted; {nil, 1} there was no count
-- Publishes 1 on the wake channel when deleted
if redis.call('del', KEYS[2]) == 0 then
  return {false, 1}
end
redis.call('set', KEYS[1], table.concat({ARGV[1], '1'}, ':'), 'px', ARGV[2])
if type(announce(ARGV[3], '1')) == 'table' then
  return {1, 0}
end
return {1, 1}
