-- Extends the leases of many runs of one worker in one call.
--
-- Keys: 1 leases, 2.. one run hash per run
-- Arguments: 1 lease in ms, then for each run: id, token
-- Answers: for each run two values: 1 the caller owns it or 0 it does not, signals waiting
-- Invariant: a lease is extended only by the run's present owner; a late renewal never takes a run back. A server that
--   refuses writes for want of memory still extends: else every run would change its owner, and count it as a crash.

local leases, lease, now = KEYS[1], tonumber(ARGV[1]), now_ms()
local answers = {}
redis.call('ZREM', leases, '') -- removes nothing; only the first write of a script can be refused for want of memory
for i = 1, #KEYS - 1 do
  local run, id, token = KEYS[i + 1], ARGV[2 * i], ARGV[2 * i + 1]
  local h = redis.call('HMGET', run, 'token', 'state', 'inbox')
  local owned = is_owner(token, h[1], h[2])
  if owned then redis.call('ZADD', leases, now + lease, id) end
  answers[2 * i - 1], answers[2 * i] = owned and 1 or 0, tonumber(h[3] or 0)
end
return answers
