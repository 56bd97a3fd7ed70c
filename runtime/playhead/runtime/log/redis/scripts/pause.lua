-- Sets a run aside until its questions are answered: no owner, no lease, not in line. It keeps its session.
--
-- Keys: 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 prefix, 2 run id, 3 token, 4 head expected, 5 signals acknowledged, 6 number of records, records (the
--   last is run.paused), number of open interrupts, their ids
-- Answers: {code, head, signals waiting} as append
-- Invariant: after OK the former owner is fenced. A run with signals that its owner has not taken in is never paused: it
--   goes back in line at once, or, with a cancel among them, to its end.

local prefix, id, count = ARGV[1], ARGV[2], tonumber(ARGV[6])
local code, head, waiting =
  append_and_release(KEYS[1], KEYS[2], KEYS[3], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), arguments(7, count))
if code == 0 then
  if waiting > 0 then -- the answer to one of the interrupts may be among what waits: the owner that takes it in pauses anew
    requeue(prefix, id, now_ms())
  else
    for _, interrupt in ipairs(arguments(8 + count, tonumber(ARGV[7 + count]))) do
      redis.call('HSET', KEYS[1], 'interrupt:' .. interrupt, 1)
    end
    redis.call('ZREM', prefix .. 'leases', id)
    redis.call('HSET', KEYS[1], 'state', 'paused', 'worker', '', 'updated', now_ms())
  end
end
return {code, head, waiting}
