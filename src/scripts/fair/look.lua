-- Keeps the places of many waiters, and looks whether it is anybody's turn.
-- Interchangeable with: nothing of Redisson's, whose waiters are silent
-- KEYS[i] for each waiter the lock's name (hash), queue (list) and deadlines (sorted set)
-- ARGV[i] for each waiter its owner field, and how to announce it, with the stem of the wake channels
-- Returns per waiter: ms left; -1 no time to live; -2 it should ask, since it is its turn or it has no place any more
-- Publishes 0 on the channel of a head whose turn it is
-- Builds: the channel of the head, whom only the queue knows
local answers, at, places, heads = {}, now(), {}, {}
local function places_in(queue)
  if not places[queue] then
    places[queue] = {}
    for i, owner in ipairs(redis.call('lrange', queue, 0, -1)) do
      places[queue][owner] = places[queue][owner] or i - 1
    end
  end
  return places[queue]
end
local function look(i)
  local key, owner = 3 * i - 2, ARGV[2 * i - 1]
  local queue, deadlines = KEYS[key + 1], KEYS[key + 2]
  local place, left = places_in(queue)[owner], redis.call('pttl', KEYS[key])
  if not place then
    return -2
  end
  keep_place(queue, deadlines, owner, place, at)
  if left ~= -2 then
    return left
  end
  if not heads[queue] then
    heads[queue] = turn(queue, deadlines, ARGV[2 * i], at, owner)
    places[queue] = nil
  end
  return heads[queue] == owner and -2 or 1000
end
for i = 1, #ARGV / 2 do
  local fine, answer = pcall(look, i)
  answers[i] = fine and answer or -2
end
return answers
