-- What the fair scripts share: the queue of owner ids, head first, and their deadlines by the server's clock.
-- PLACE is how long an owner of ours may be silent before its place goes, GRACE what other clients' clocks may be off,
-- TURN how long a head has that is called and does not listen, WAIT what a JVM's waiter adds to a deadline and takes
-- away again when it gets in.
local PLACE, GRACE, TURN, WAIT = 8000, 4000, 5000, 300000
local function now()
  local time = redis.call('time')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- Gives an owner its place, or keeps it: behind all, or in front where it was put out of its turn.
local function keep_place(queue, deadlines, owner, at, placed)
  local place = redis.call('lpos', queue, owner)
  if not place and placed == 'kept' then
    return false
  end
  if not place then
    place = redis.call(placed == '1' and 'lpush' or 'rpush', queue, owner) - 1
    place = placed == '1' and 0 or place
  end
  local deadline = at + place * WAIT + PLACE
  if place > 0 then
    local before = redis.call('zscore', deadlines, redis.call('lindex', queue, place - 1))
    deadline = math.max(deadline, before and before + PLACE or 0)
  end
  redis.call('zadd', deadlines, string.format('%.0f', deadline), owner)
  return true
end
-- Takes back what a place of ours added to the deadlines behind it, but leaves everybody at least until `least`.
local function close_up(queue, deadlines, from, least)
  for _, owner in ipairs(redis.call('lrange', queue, from, -1)) do
    local deadline = tonumber(redis.call('zscore', deadlines, owner) or nil)
    if deadline then
      redis.call('zadd', deadlines, string.format('%.0f', math.max(deadline - PLACE, least)), owner)
    end
  end
end
-- The lock is free: says whose turn it is and calls it, putting out those who are gone. A whole client goes at once.
local function turn(queue, deadlines, base, publish, at, me)
  local gone, promoted = false, false
  while true do
    local head = redis.call('lindex', queue, 0)
    if not head or head == me then
      return head
    end
    local deadline = tonumber(redis.call('zscore', deadlines, head) or nil)
    local heard = deadline and redis.pcall(publish, base .. ':' .. head, '0')
    local client = string.match(head, '^(.*):')
    local silent = heard == 0
    if deadline and not (silent and (deadline <= at or client == gone)) and (promoted or deadline + GRACE > at) then
      local least = promoted and at + TURN or deadline
      local most = silent and at + TURN or math.max(deadline, least)
      redis.pcall('zadd', deadlines, string.format('%.0f', math.min(math.max(deadline, least), most)), head)
      return head, type(heard) == 'table'
    end
    gone, promoted = silent and client or gone, true
    redis.call('zrem', deadlines, head)
    redis.call('lpop', queue)
  end
end
