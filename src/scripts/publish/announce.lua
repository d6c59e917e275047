-- How scripts announce something: by PUBLISH on one server, which knows all who hear; by PUBLISH over a cluster's bus
-- (BROADCAST), by SPUBLISH in a shard, or by both (BOTH). Gives the number of receivers, -1 where it says nothing about
-- them, or the server's error.
local function announce(how, channel, message)
  if how ~= 'BROADCAST' and how ~= 'BOTH' then
    return redis.pcall(how, channel, message)
  end
  local sharded = how == 'BOTH' and redis.pcall('spublish', channel, message) or 0
  local heard = redis.pcall('publish', channel, message)
  return (type(sharded) == 'table' and sharded) or (type(heard) == 'table' and heard) or -1
end
