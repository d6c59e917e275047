-- Looks at the values that many waiters wait for.
-- Interchangeable with: nothing of Redisson's, whose waiters ask each for itself
-- KEYS[i] for each waiter the group name (hash)
-- ARGV[i] for each waiter its owner, the number of its values, and their fields
-- Returns per waiter: ms until the last value ends that somebody else has; -2 when there is none
-- Publishes nothing
-- Builds: no key, but the names of fields
local answers, at, arg = {}, now(), 1
local function look(name, owner, first, last)
  local latest = -2
  for i = first, last do
    local other, ends = holder(name, ARGV[i], at)
    if other and other ~= owner then
      latest = math.max(latest, ends - at)
    end
  end
  return latest
end
for i, name in ipairs(KEYS) do
  local first, last = arg + 2, arg + 1 + ARGV[arg + 1]
  local fine, answer = pcall(look, name, ARGV[arg], first, last)
  answers[i] = fine and answer or -2
  arg = last + 1
end
return answers
