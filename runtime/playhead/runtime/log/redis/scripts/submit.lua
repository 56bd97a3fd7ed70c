-- Creates a run with its record 1 and queues it, or lets it wait for its session if another run holds that.
--
-- Keys: 1 run hash, 2 log stream, 3 deadlines, 4 sessions index
-- Arguments: 1 prefix, 2 run id, 3 agent, 4 session or '', 5 record 1, 6 deadline in ms from now or 0, 7 crash limit,
--   8 retention in ms; these two hold until a worker brings its own; 9 metadata as JSON or '', 10 its tags, one a line;
--   only of a child: 11 its parent, 12 the encoded cancel for the end of the parent, 13.. the records that end the child then
-- Answers: 1 created; 0 the id exists already, or the parent has ended or does not exist, nothing was changed
-- Invariant: a run exists if and only if its record 1 does; sent twice, it is created once. The indexes and the queue
--   have runs in the order of their submission, and the index of sessions the one that was used last at its end. A run
--   names its children from their first moment on, so that they end with it.
--   `created` is the time of the position, so it never goes back either.

local run, log, deadlines, sessions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, id, agent, session, record = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('EXISTS', run) == 1 then return 0 end
local above = ARGV[11] and redis.call('HMGET', prefix .. 'run:' .. ARGV[11], 'state', 'deadline', 'children')
if above and (not above[1] or ended(above[1])) then return 0 end
append_records(run, log, 0, 0, {record}) -- first: if another program has written to this log, the run must not exist
local position = next_position(prefix)
local created = math.floor(position / 1000)
local now = math.min(now_ms(), created) -- less only if the clock was set back
redis.call('HSET', run, 'state', 'queued', 'epoch', 0, 'token', '', 'crashes', 0, 'crash_streak', 0, 'idle_owners', 0,
  'handovers', 0, 'errors', 0, 'inbox', 0, 'crash_limit', ARGV[7], 'retention_ms', ARGV[8], 'agent', agent, 'session', session,
  'created', string.format('%.0f', created), 'updated', string.format('%.0f', created))
if ARGV[9] ~= '' then redis.call('HSET', run, 'metadata', ARGV[9], 'tags', ARGV[10]) end
local deadline = tonumber(ARGV[6]) > 0 and now + tonumber(ARGV[6]) or nil
if above then
  redis.call('HSET', prefix .. 'run:' .. ARGV[11], 'children', (above[3] and above[3] .. ' ' or '') .. id)
  redis.call('HSET', run, 'cancel_signal', ARGV[12], 'cancel_records', #ARGV - 12)
  for r = 1, #ARGV - 12 do redis.call('HSET', run, 'cancel_record:' .. r, ARGV[12 + r]) end
  deadline = above[2] or deadline
end
if deadline then
  redis.call('HSET', run, 'deadline', deadline)
  redis.call('ZADD', deadlines, deadline, id)
end
add_to_indexes(prefix, id, index_names(agent, 'queued', session, ARGV[10]), position)
-- Entries of runs that are gone go as new ones come: more than a submission adds, so that the indexes stay bounded.
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'expiring', '-inf', '(' .. now, 'LIMIT', 0, 4)) do
  local names, old = gone:match('^(.-)\n\n(.*)$')
  if redis.call('EXISTS', prefix .. 'run:' .. old) == 1 then -- a new run has the same id
    redis.call('ZADD', prefix .. 'expiring', string.format('%.0f', now + 60000), gone)
  else
    redis.call('ZREM', prefix .. 'expiring', gone)
    remove_from_indexes(prefix, old, names)
  end
end
if session ~= '' then
  -- Index entries of sessions that are gone go in the same way; some of them are taken anywhere, because old ones that are
  -- kept longer may come before all that are not.
  for _, some in ipairs({redis.call('ZRANGE', sessions, 0, 1), redis.call('ZRANDMEMBER', sessions, 4)}) do
    for _, old in ipairs(some) do
      if redis.call('EXISTS', prefix .. 'about:' .. old) == 0 then redis.call('ZREM', sessions, old) end
    end
  end
  local key, about, messages = prefix .. 'session:' .. session, prefix .. 'about:' .. session, prefix .. 'messages:' .. session
  local said, known = redis.call('PTTL', messages), redis.call('PTTL', about) -- -2 if there is none, -1 without a TTL
  if said >= 0 then redis.call('PERSIST', messages) end
  if known >= 0 then redis.call('PERSIST', about) end
  if math.max(said, known) > 0 then
    redis.call('HSET', key, 'kept_until', string.format('%.0f', now + math.max(said, known)))
  end
  if said == -2 and redis.call('HEXISTS', about, 'created') == 0 then redis.call('HSET', about, 'created', now) end
  redis.call('HSET', about, 'used', now)
  redis.call('ZADD', sessions, position, session)
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
