-- Runs the script before it, which has become a function, for each of many that use it at the same time. Each is judged
-- alone: what one is refused with is the answer to that one.
-- KEYS[i] the keys of each in turn
-- ARGV[i] the arguments of each in turn; then how many keys, and how many arguments, each has
-- Returns per caller what the script returns, or {'!', error}
local keys_each, args_each, answers = tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV]), {}
for i = 1, #KEYS / keys_each do
  local keys = {unpack(KEYS, (i - 1) * keys_each + 1, i * keys_each)}
  local args = {unpack(ARGV, (i - 1) * args_each + 1, i * args_each)}
  local fine, answer = pcall(run, keys, args)
  if not fine then
    answer = {'!', type(answer) == 'table' and answer.err or 'ERR ' .. tostring(answer)}
  end
  answers[i] = answer or false
end
return answers
