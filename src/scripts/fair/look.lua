-- Keeps the places of many waiters, and looks whether it is anybody's turn.
-- Interchangeable with: nothing of Redisson's, whose waiters are silent
-- KEYS[i] for each waiter the lock's name (hash), queue (list), deadlines (sorted set) and wake channel
-- ARGV[1] publish command
-- ARGV[i] owner field of the waiter before
-- Returns per waiter: ms left; -1 no time to live; -2 it should ask, since it is its turn or it has no place any more
-- Publishes 0 on the channel of a head whose turn it is
-- Builds: the channel of the head, whom only the queue knows
local answers, at = {}, now()
local function look(i)
  local key, owner = 4 * i - 3, ARGV[i + 1]
  local kept = keep_place(KEYS[key + 1], KEYS[key + 2], owner, at, 'kept')
  local left = redis.call('pttl', KEYS[key])
  if not kept then
    return -2
  end
  if left == -2 and turn(KEYS[key + 1], KEYS[key + 2], KEYS[key + 3], ARGV[1], at, owner) ~= owner then
    return 1000
  end
  return left
end
for i = 1, #ARGV - 1 do
  local fine, answer = pcall(look, i)
  answers[i] = fine and answer or -2
end
return answers
