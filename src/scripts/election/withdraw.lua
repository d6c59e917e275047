-- Takes back what a leader has said, unless somebody else leads by now.
-- Interchangeable with: nothing of Redisson's, which has no elections
-- KEYS[1] record of the election (hash with the fields owner, term and value)
-- ARGV[1] owner field of the leader
-- ARGV[2] its term
-- ARGV[3] how to announce it, with the channel of the election
-- Returns 1 taken back; 0 it was not there
-- Publishes the term on the channel of the election, where it was taken back
if redis.call('hget', KEYS[1], 'owner') ~= ARGV[1] then
  return 0
end
redis.call('del', KEYS[1])
announce(ARGV[3], ARGV[2])
return 1
