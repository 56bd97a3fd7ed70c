-- Ends an ownership and queues the run again, after all others or, with a delay, when that is over. Not a crash.
--
-- Keys: 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 prefix, 2 run id, 3 token, 4 head expected, 5 signals acknowledged, 6 number of records, records,
--   delay in ms or 0
-- Answers: {status, head, signals waiting} as append
-- Invariant: after OK the former owner is fenced. A cancel that it did not take in takes effect now: a cancelled run
--   never waits for an owner. No claim gets the run before its delay is over, by the clock of the server.

local run, log, inbox = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, token, expected, acknowledged = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local records = arguments(7, tonumber(ARGV[6]))
local status, head, waiting = append_and_release(run, log, inbox, token, expected, acknowledged, records)
if status == STATUS.OK then
  local now, delay = now_ms(), tonumber(ARGV[7 + #records])
  redis.call('HINCRBY', run, 'handovers', 1)
  if delay > 0 then
    redis.call('HSET', run, 'due', now + delay)
    requeue(prefix, id, now, delay)
  else
    redis.call('HINCRBY', run, 'idle_owners', 1)
    requeue(prefix, id, now)
  end
end
return {status, head, waiting}
