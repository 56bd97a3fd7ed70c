-- Creates a run with its record 1 and queues it, or lets it wait for its session if another run holds that.
--
-- Keys: 1 run hash, 2 log stream, 3 runs index, 4 deadlines
-- Arguments: 1 prefix, 2 run id, 3 agent, 4 session or '', 5 record 1, 6 deadline in ms from now or 0, 7 crash limit,
--   8 retention in ms; the last two hold until a worker brings its own
-- Answers: 1 created; 0 the id exists already, nothing was changed
-- Invariant: a run exists if and only if its record 1 does; sent twice, it is created once. The index and the queue
--   have runs in the order of their submission.

local run, log, runs, deadlines = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, id, agent, session, record = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('EXISTS', run) == 1 then return 0 end
local now = now_ms()
append_records(run, log, 0, 0, {record}) -- first: if another program has written to this log, the run must not exist
redis.call('HSET', run, 'state', 'queued', 'epoch', 0, 'token', '', 'crashes', 0, 'crash_streak', 0, 'idle_owners', 0,
  'handovers', 0, 'errors', 0, 'inbox', 0, 'crash_limit', ARGV[7], 'retention_ms', ARGV[8], 'agent', agent, 'session', session,
  'created', now, 'updated', now)
local deadline = tonumber(ARGV[6])
if deadline > 0 then
  redis.call('HSET', run, 'deadline', now + deadline)
  redis.call('ZADD', deadlines, now + deadline, id)
end
-- Index entries of runs whose retention has ended go as new ones come: a few at each submit keep the index bounded. Some of
-- them are taken anywhere, because old runs that are kept longer may come before all that are not.
for _, some in ipairs({redis.call('ZRANGE', runs, 0, 1), redis.call('ZRANDMEMBER', runs, 4)}) do
  for _, old in ipairs(some) do
    if redis.call('EXISTS', prefix .. 'run:' .. old) == 0 then redis.call('ZREM', runs, old) end
  end
end
redis.call('ZADD', runs, next_position(prefix), id)
if session ~= '' then
  local key = prefix .. 'session:' .. session
  local left = redis.call('PTTL', prefix .. 'messages:' .. session)
  if left > 0 then redis.call('HSET', key, 'kept_until', string.format('%.0f', now + left)) end
  redis.call('PERSIST', prefix .. 'messages:' .. session)
  local holder = redis.call('HGET', key, 'holder')
  local state = holder and redis.call('HGET', prefix .. 'run:' .. holder, 'state')
  if state and not ended(state) then
    redis.call('RPUSH', prefix .. 'waiting:' .. session, id)
    return 1
  end
  redis.call('HSET', key, 'holder', id)
end
enqueue(prefix, id)
return 1
