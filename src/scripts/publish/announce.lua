-- How scripts announce something. A call is a word, a blank and a channel: PUBLISH on one server, which knows all who
-- hear; BROADCAST by PUBLISH over a cluster's bus; SPUBLISH in a shard; BOTH by both. The channel is no key: a slot on the
-- move would turn requests away that name what is never there. Gives the number of receivers, -1 where it says nothing
-- about them, or the server's error.
local function announce(call, message)
  local how, channel = string.match(call, '^(%u+) (.*)$')
  if how == 'PUBLISH' or how == 'SPUBLISH' then
    return redis.pcall(how, channel, message)
  end
  local sharded = how == 'BOTH' and redis.pcall('spublish', channel, message) or 0
  local heard = redis.pcall('publish', channel, message)
  return (type(sharded) == 'table' and sharded) or (type(heard) == 'table' and heard) or -1
end
