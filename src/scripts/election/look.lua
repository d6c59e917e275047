-- Reads who leads: whoever said so, if the lock is still its own.
-- Interchangeable with: nothing of Redisson's, which has no elections
-- KEYS[1] lock name (hash)
-- KEYS[2] record of the election (hash with the fields owner, term and value)
-- Returns {owner field, term, value}; {} where nobody leads
-- Publishes nothing
local owner = redis.call('hget', KEYS[2], 'owner')
if not owner or redis.call('hexists', KEYS[1], owner) == 0 then
  return {}
end
return redis.call('hmget', KEYS[2], 'owner', 'term', 'value')
