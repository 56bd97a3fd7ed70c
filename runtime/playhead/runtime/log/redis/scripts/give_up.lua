-- Gives up runs that their owner could not hold, and tells that this owner lives: a run that it still owns is queued again;
-- a crash that was counted because it was silent is taken back.
--
-- Keys: one run hash per run
-- Arguments: 1 prefix, then for each run: id, token
-- Answers: 1
-- Invariant: not a crash, and each crash is taken back at most once. The former owner is fenced. A run that an owner
--   has given up is one more that got no further: the number of its idle owners stays.

local prefix, now = ARGV[1], now_ms()
for i = 1, (#ARGV - 1) / 2 do
  local run, id, token = KEYS[i], ARGV[2 * i], ARGV[2 * i + 1]
  local h = redis.call('HMGET', run, 'token', 'state', 'silent_token', 'crash_streak')
  if is_owner(token, h[1], h[2]) then
    redis.call('HINCRBY', run, 'idle_owners', 1)
    requeue(prefix, id, now)
  elseif token ~= '' and h[3] == token then
    redis.call('HINCRBY', run, 'crashes', -1)
    redis.call('HSET', run, 'silent_token', '', 'crash_streak', math.max(0, tonumber(h[4]) - 1))
  end
end
return 1
