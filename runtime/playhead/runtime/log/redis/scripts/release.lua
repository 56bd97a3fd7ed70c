-- Hands a run back: to the end of the line. Not a crash.
--
-- Keys: 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 prefix, 2 run id, 3 token, 4 head expected, 5 signals acknowledged, 6 number of records, records
-- Answers: {code, head, signals waiting} as append
-- Invariant: after OK the former owner is fenced. A cancel that it did not take in takes effect now: a cancelled run
--   never waits for an owner.

local prefix, id, count = ARGV[1], ARGV[2], tonumber(ARGV[6])
local code, head, waiting =
  append_and_release(KEYS[1], KEYS[2], KEYS[3], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), arguments(7, count))
if code == 0 then
  redis.call('HINCRBY', KEYS[1], 'handovers', 1)
  requeue(prefix, id, now_ms())
end
return {code, head, waiting}
