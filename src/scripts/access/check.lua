-- Tries commands on a key nobody uses, to see which of them the server's user may not run. Most are made to fail, so that
-- they change nothing; those that cannot be are run only where DEL is allowed, and undone at once.
-- Interchangeable with: nothing of Redisson's, which finds out in the middle of an unlock
-- KEYS[1] the key
-- ARGV[i] for each check: 1 when it makes the key, else 0; the number of its words; the words
-- Returns per check: what the server complains of, or ''
-- Publishes 0, where a check says so, on channels nobody listens on
local function try(first, last)
  local reply = redis.pcall(unpack(ARGV, first, last))
  return type(reply) == 'table' and reply.err or ''
end
local answers, i = {}, 1
while i < #ARGV do
  local last = i + 1 + ARGV[i + 1]
  if ARGV[i] == '0' then
    answers[#answers + 1] = try(i + 2, last)
  elseif type(redis.pcall('del', KEYS[1])) == 'table' then
    answers[#answers + 1] = ''
  else
    answers[#answers + 1] = try(i + 2, last)
    redis.call('del', KEYS[1])
  end
  i = last + 1
end
return answers
