-- What the fair scripts share: the queue of owner ids, head first, and their deadlines by the server's clock.
-- PLACE is how long an owner of ours may be silent before its place goes, GRACE what other clients' clocks may be off,
-- TURN how long a head has that is called and does not listen, WAIT what a JVM's waiter adds to a deadline and takes
-- away again when it gets in.
local PLACE, GRACE, TURN, WAIT = 8000, 4000, 5000, 300000
local function now()
  local time = redis.call('time')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function deadline_of(deadlines, owner)
  return tonumber(redis.call('zscore', deadlines, owner) or nil)
end
local function set_deadline(deadlines, owner, deadline)
  return redis.pcall('zadd', deadlines, string.format('%.0f', deadline), owner)
end
-- Keeps an owner's place. One that has moved up takes those behind along, as far as all before them need no time any more.
local function keep_place(queue, deadlines, owner, place, at)
  local deadline, last = at + place * WAIT + PLACE, deadline_of(deadlines, owner)
  if place > 0 then
    local before = deadline_of(deadlines, redis.call('lindex', queue, place - 1))
    deadline = math.max(deadline, before and before + PLACE or 0)
  end
  redis.call('zadd', deadlines, string.format('%.0f', deadline), owner)
  if last and last > deadline + PLACE then
    for behind, other in ipairs(redis.call('lrange', queue, place + 1, -1)) do
      local theirs = deadline_of(deadlines, other)
      local least = at + (place + behind) * WAIT + PLACE
      if theirs and theirs > least then
        set_deadline(deadlines, other, math.max(theirs - last + deadline, least))
      end
    end
  end
end
-- Nobody hears what is said to an owner: it is dead, or away.
local function is_deaf(call, owner)
  return announce(call .. ':' .. owner, '0') == 0
end
-- Takes back what so many places of ours added to the deadlines behind them, of those only who have more than their own
-- place takes: whoever came back in front added nothing. Leaves who listens at least until `least`. With no places, only
-- the first is seen to, who could be put out.
local function close_up(queue, deadlines, call, from, at, left, places)
  local least = at + math.max(math.min(left, 30000), 0)
  for behind, owner in ipairs(redis.call('lrange', queue, from, places > 0 and -1 or from)) do
    local deadline = deadline_of(deadlines, owner)
    local needed = at + (from + behind - 1) * WAIT + PLACE
    local spare = deadline and math.floor((deadline - math.max(least, needed)) / PLACE) or 0
    if math.min(spare, places) > 0 then
      set_deadline(deadlines, owner, deadline - math.min(spare, places) * PLACE)
    elseif deadline and deadline < least and not is_deaf(call, owner) then
      set_deadline(deadlines, owner, least)
    end
  end
end
-- A client is gone: others of it that do not listen either have their turn now, wherever they stand.
local function hurry(queue, deadlines, call, at, client)
  for _, owner in ipairs(redis.call('lrange', queue, 0, -1)) do
    local deadline = deadline_of(deadlines, owner)
    if deadline and deadline > at + TURN and string.match(owner, '^(.*):') == client and is_deaf(call, owner) then
      set_deadline(deadlines, owner, at + TURN)
    end
  end
end
-- The lock is free: says whose turn it is and calls it, putting out those who are gone.
local function turn(queue, deadlines, call, at, me)
  local gone, promoted = false, false
  while true do
    local head = redis.call('lindex', queue, 0)
    if not head or head == me then
      return head
    end
    local deadline = deadline_of(deadlines, head)
    local heard = deadline and announce(call .. ':' .. head, '0')
    local silent, client = heard == 0, string.match(head, '^(.*):')
    if deadline and not (silent and (deadline <= at or client == gone)) and (promoted or deadline + GRACE > at) then
      local least = promoted and at + TURN or deadline
      local most = silent and at + TURN or math.max(deadline, least)
      local due = math.min(math.max(deadline, least), most)
      if due ~= deadline then
        set_deadline(deadlines, head, due)
      end
      return head, type(heard) == 'table'
    end
    promoted = true
    redis.call('zrem', deadlines, head)
    redis.call('lpop', queue)
    if silent and client ~= gone then
      gone = client
      hurry(queue, deadlines, call, at, client)
    end
  end
end
