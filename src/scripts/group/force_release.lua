-- Frees some values of a group whoever has them.
-- Interchangeable with: RedissonFasterMultiLock.forceUnlockAsync
-- KEYS[1] group name (hash)
-- ARGV[1] how to announce it, with the wake channel
-- ARGV[i] field of a value
-- Returns 1 freed; 2 freed, but the wake-up was refused; 0 none was held
-- Publishes 0 on the wake channel when freed
-- Builds: no key, but the names of fields
local freed = 0
for i = 2, #ARGV do
  local owner = redis.call('hget', KEYS[1], ARGV[i])
  if owner then
    set(KEYS[1], ARGV[i], owner, 0)
    freed = freed + 1
  end
end
if freed == 0 then
  return 0
end
return type(announce(ARGV[1], '0')) == 'table' and 2 or 1
