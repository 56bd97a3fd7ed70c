-- Ends an ownership and pauses the run until its questions are answered: no owner, no lease, not queued. The run keeps its
-- session.
--
-- Keys: 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 prefix, 2 run id, 3 token, 4 head expected, 5 signals acknowledged, 6 number of records, records (the
--   last is run.paused), number of open interrupts, their ids
-- Answers: {status, head, signals waiting} as append
-- Invariant: after OK the former owner is fenced. A run with signals that its owner has not taken in is never paused: it
--   is queued again at once, or, with a cancel among them, ended.

local run, log, inbox = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, token, expected, acknowledged = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local records = arguments(7, tonumber(ARGV[6]))
local interrupts = arguments(8 + #records, tonumber(ARGV[7 + #records]))
local status, head, waiting = append_and_release(run, log, inbox, token, expected, acknowledged, records)
if status == STATUS.OK and waiting > 0 then
  requeue(prefix, id, now_ms()) -- a response to one of the interrupts may be waiting: the next owner takes it in, and may pause
elseif status == STATUS.OK then
  for _, interrupt in ipairs(interrupts) do redis.call('HSET', run, 'interrupt:' .. interrupt, 1) end
  redis.call('ZREM', prefix .. 'leases', id)
  redis.call('HSET', run, 'state', 'paused', 'worker', '', 'updated', now_ms())
  move_to_state(prefix, id, 'running', 'paused')
end
return {status, head, waiting}
