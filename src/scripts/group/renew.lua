-- Renews, or only looks at, the values of many group locks at once; a bad key never stops its neighbours.
-- Interchangeable with: FastMultilockTask.renew
-- KEYS[i] for each lock its group name (hash)
-- ARGV[i] for each lock the owner, the time to live in ms (raised to and never lowered; 0 looks and changes nothing), the
-- number of its values, and their fields
-- Returns per lock: 1 held; 0 a value is gone; -1 others have a value; -2 not a lock; or the server's refusal to write
-- Publishes nothing
-- Builds: no key, but the names of fields
local answers, at, arg = {}, now(), 1
local function renew(name, owner, ttl, first, last)
  for i = first, last do
    local other = holder(name, ARGV[i], at)
    if other ~= owner then
      return other and -1 or 0
    end
  end
  for i = first, ttl == '0' and first - 1 or last do
    local field = ARGV[i] .. ':' .. owner .. ':expire_time'
    if tonumber(redis.call('hget', name, field)) < at + ttl then
      redis.call('hset', name, field, string.format('%.0f', at + ttl))
    end
  end
  if ttl ~= '0' then
    outlast(name, ttl)
  end
  return 1
end
for i, name in ipairs(KEYS) do
  local first, last = arg + 3, arg + 2 + ARGV[arg + 2]
  local fine, answer = pcall(renew, name, ARGV[arg], ARGV[arg + 1], first, last)
  local why = not fine and (type(answer) == 'table' and answer.err or tostring(answer)) or ''
  -- No memory, a replica, ...: that says nothing about the lock.
  local refusal = string.match(why, '%u%u%u+.*')
  if refusal and not string.find(refusal, 'WRONGTYPE', 1, true) then
    return redis.error_reply(refusal)
  end
  answers[i] = fine and answer or -2
  arg = last + 1
end
return answers
