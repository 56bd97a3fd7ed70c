-- Tells that a run got on: what ran when its last owner ended has completed.
--
-- Keys: 1 run hash
-- Arguments: 1 token
-- Answers: 1 the caller owns the run, 0 it does not, and nothing was changed
-- Invariant: only the owner clears its run of the crashes and the idle owners before it.

local run = KEYS[1]
local h = redis.call('HMGET', run, 'token', 'state')
if not is_owner(ARGV[1], h[1], h[2]) then return 0 end
redis.call('HSET', run, 'crash_streak', 0, 'idle_owners', 0, 'silent_token', '', 'crash_end', '')
return 1
