-- Gives permits back, those of the ids that are in use.
-- Interchangeable with: RPermitExpirableSemaphore.tryRelease(id)
-- KEYS[1] mark of this client
-- KEYS[2] semaphore name (string)
-- KEYS[3] permits in use (sorted set: id, end)
-- ARGV[1] number of this request
-- ARGV[2] time to live of the mark in ms
-- ARGV[3] how to announce it, with the wake channel
-- ARGV[i] id of a permit, from 4 on
-- Returns {how many had not ended, heard}
-- Publishes the permits there are on the wake channel when any was given back
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids, alive = {}, 0
for i = 4, #ARGV do
  local ends = redis.call('zscore', KEYS[3], ARGV[i])
  if ends then
    ids[#ids + 1] = ARGV[i]
    alive = alive + (tonumber(ends) > now and 1 or 0)
  end
end
if #ids == 0 then
  return {0, 1}
end
local total = redis.call('incrby', KEYS[2], #ids)
for _, id in ipairs(ids) do
  redis.call('zrem', KEYS[3], id)
end
redis.call('set', KEYS[1], table.concat({ARGV[1], alive}, ':'), 'px', ARGV[2])
if type(announce(ARGV[3], total)) == 'table' then
  return {alive, 0}
end
return {alive, 1}
