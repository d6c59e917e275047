-- Says who leads, for as long as the lock is its own.
-- Interchangeable with: nothing of Redisson's, which has no elections; the lock is an RFencedLock
-- KEYS[1] lock name (hash)
-- KEYS[2] record of the election (hash with the fields owner, term and value)
-- ARGV[1] owner field of the leader
-- ARGV[2] its term, the fencing token of its hold
-- ARGV[3] its value
-- ARGV[4] time to live of the record in ms
-- ARGV[5] how to announce it, with the channel of the election
-- Returns 1 said; 2 said, but the announcement was refused; 0 nothing said, since the lock is not held by this owner
-- Publishes the term on the channel of the election, where anything is new
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local before = redis.call('hmget', KEYS[2], 'owner', 'value')
redis.call('hset', KEYS[2], 'owner', ARGV[1], 'term', ARGV[2], 'value', ARGV[3])
redis.call('pexpire', KEYS[2], ARGV[4])
if before[1] == ARGV[1] and before[2] == ARGV[3] then
  return 1
end
return type(announce(ARGV[5], ARGV[2])) == 'table' and 2 or 1
