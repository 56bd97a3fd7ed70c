-- Creates a run with its record 1 and queues it, or does what the caller chose if another run holds its session: lets it wait
-- for that run, refuses it, cancels that run, or sends it the prompt as a steer.
--
-- Keys: 1 run hash, 2 log stream, 3 deadlines, 4 sessions index
-- Arguments: 1 prefix, 2 run id, 3 agent, 4 session or '', 5 record 1, 6 deadline in ms from now or 0, 7 crash limit,
--   8 retention in ms; these two hold until a worker brings its own; 9 metadata as JSON or '', 10 its tags, one a line,
--   11 what to do if another run holds the session (queue, reject, cancel or steer), 12 the encoded signal for that run or
--   '', whose id is the run id, 13 number of records, records that end that run without its owner (cancel only);
--   only of a child: its parent, the encoded cancel for the end of the parent, the records that end the child then
-- Answers: 1 created; 0 the id exists already, or the parent has ended or does not exist, nothing was changed; {run id, state}
--   of the run that holds the session: it got the prompt as a steer (state '' if by an earlier call), or (reject) nothing was
--   changed
-- Invariant: a run exists if and only if its record 1 does; sent twice, it is created once. The indexes and the queue
--   have runs in the order of their submission, and the index of sessions the one that was used last at its end. A run
--   names its children from their first moment on, so that they end with it.
--   `created` is the time of the position, so it never goes back either. A prompt is in exactly one place: in a run of its own,
--   or in the inbox of a run of the same agent that was not cancelled, from which it becomes a run if that one ends first.

local run, sessions = KEYS[1], KEYS[4]
local prefix, id, agent, session, record = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local if_busy, signal = ARGV[11], ARGV[12]
if redis.call('EXISTS', run) == 1 then return 0 end
local above_at = 14 + tonumber(ARGV[13])
local above = ARGV[above_at] and redis.call('HMGET', prefix .. 'run:' .. ARGV[above_at], 'state', 'deadline', 'children')
if above and (not above[1] or ended(above[1])) then return 0 end
local holder, holder_state = holder_of(prefix, session)
local deadline_in = tonumber(ARGV[6])

if if_busy == 'reject' and holder then return {holder, holder_state} end
if if_busy == 'steer' then
  local received = redis.call('GET', prefix .. 'steered:' .. id)
  if received then return {received, ''} end
  local h = holder and redis.call('HMGET', prefix .. 'run:' .. holder, 'agent', 'cancel_signal')
  if holder and h[1] == agent and not h[2] then
    local deadline = deadline_in > 0 and string.format('%.0f', now_ms() + deadline_in) or 0
    redis.call('RPUSH', prefix .. 'steers:' .. holder, signal, id, record, deadline, ARGV[7], ARGV[8], ARGV[9], ARGV[10])
    redis.call('SET', prefix .. 'steered:' .. id, holder, 'PX', ARGV[8])
    return {holder, put_signal(prefix, holder, holder_state, id, signal, {})}
  end
end

local position = create_run(prefix, id, agent, session, record, ARGV[7], ARGV[8], ARGV[9], ARGV[10])
local now = math.min(now_ms(), math.floor(position / 1000)) -- less only if the clock was set back
local deadline = deadline_in > 0 and now + deadline_in or nil
if above then
  local records = arguments(above_at + 2, #ARGV - above_at - 1)
  redis.call('HSET', prefix .. 'run:' .. ARGV[above_at], 'children', (above[3] and above[3] .. ' ' or '') .. id)
  redis.call('HSET', run, 'cancel_signal', ARGV[above_at + 1], 'cancel_records', #records)
  for r, ending in ipairs(records) do redis.call('HSET', run, 'cancel_record:' .. r, ending) end
  deadline = above[2] and tonumber(above[2]) or deadline
end
if deadline then set_deadline(prefix, id, deadline) end
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
  if if_busy == 'cancel' and holder then
    put_signal(prefix, holder, holder_state, id, signal, arguments(14, tonumber(ARGV[13])))
  end
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
  redis.call('ZADD', sessions, next_position(prefix), session) -- above those that the cancel gave
  if holder_of(prefix, session) then
    redis.call('RPUSH', prefix .. 'waiting:' .. session, id)
    return 1
  end
  redis.call('HSET', key, 'holder', id)
end
enqueue(prefix, id)
return 1
