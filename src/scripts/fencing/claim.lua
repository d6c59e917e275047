-- Reads a value and refuses all lower tokens from now on, unless a higher one has been here.
-- Interchangeable with: nothing of Redisson's, which leaves checking to the resource
-- KEYS[1] cell (hash with the fields token and value)
-- ARGV[1] token
-- Returns {1, token, value or nil} claimed; {0, highest token} refused
-- Publishes nothing
local newest = tonumber(redis.call('hget', KEYS[1], 'token') or 0)
if newest > tonumber(ARGV[1]) then
  return {0, newest}
end
redis.call('hset', KEYS[1], 'token', ARGV[1])
return {1, tonumber(ARGV[1]), redis.call('hget', KEYS[1], 'value')}
