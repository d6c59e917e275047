-- What the group scripts share: the server's clock, and who has a value for how long yet.
local function now()
  local time = redis.call('time')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- The owner of a value and until when; nobody where its time is over.
local function holder(name, value, at)
  local owner = redis.call('hget', name, value)
  local ends = owner and tonumber(redis.call('hget', name, value .. ':' .. owner .. ':expire_time') or 0) or 0
  if ends > at then
    return owner, ends
  end
  return nil, 0
end
-- Gives a value a count and an end, or frees it.
local function set(name, value, owner, count, ends)
  local stem = value .. ':' .. owner
  if count == 0 then
    redis.call('hdel', name, value, stem .. ':expire_time', stem .. ':lock_count')
    return
  end
  redis.call('hset', name, value, owner, stem .. ':lock_count', count)
  redis.call('hset', name, stem .. ':expire_time', string.format('%.0f', ends))
end
-- Lets the whole hash last at least as long as its values.
local function outlast(name, ttl)
  if redis.call('pttl', name) < tonumber(ttl) then
    redis.call('pexpire', name, ttl)
  end
end
