-- Functions that change a run's state; this file is put between fence.lua and each script that needs it. Not a script by
-- itself. Apart from common.lua because every call of a script makes all functions before it anew, and `append` needs none
-- of these.
--
-- Keys: none of its own. Names of keys that depend on the run's fields (its session's, its agent's) are built from the
--   prefix, which contains the shard's hash tag, so every key is in the slot of the declared ones.
-- Arguments: none.
-- Answers: none.
-- Invariant: a session is held by at most one run that has not ended, and a run that waits for its session is in no
--   ready set. A session's messages have a TTL if and only if no run holds it; they stay at least as long as each run
--   that has held it, because the first of them are the history from which that run began. What is stored about a session has
--   the TTL of its messages. The index has the sessions that have messages or a holder. Queue positions grow and each is given
--   once: runs are claimed in the order in which they were queued, whatever the clock does. A definition's `live` is the
--   number of runs that name it and have not ended. It has a TTL if and only if that is 0, and then stays as long as the
--   ended run among them that is kept longest. A run is in `runs`, in `ids` and in each of its indexes from its first moment
--   on, under the same position, and in no other; `expiring` names them all until the run is gone, and then they go, too.
--   A prompt that was submitted as a steer is in the log of the run that received it, or becomes a run when that one ends.
--   A run that has a framework enters the queue of that framework while a worker with it is alive, and that queue is in
--   `queues` as long as a run is in it.

local SESSION_RETENTION_MS = 2592000000 -- thirty days, as in values.py: a conversation that has ended must not stay for ever
local STEER_PARTS = 8 -- of each entry of a `steers` list: the signal, the id, record 1, the deadline or 0, and the rest that `create_run` needs

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function ended(state)
  return state == 'completed' or state == 'failed' or state == 'cancelled'
end

-- Appends the records that end a run without its owner. If the log refuses them, because another program wrote to its
-- key, the run ends without them; else it would stay for ever. To be called after another write only, so that the reason
-- of a refusal is not a lack of memory.
local function append_end(prefix, id, head, epoch, records)
  pcall(append_records, prefix .. 'run:' .. id, prefix .. 'log:' .. id, tonumber(head), tonumber(epoch), records)
end

local function notify(list, id)
  redis.call('RPUSH', list, id)
  redis.call('LTRIM', list, -100, -1)
  redis.call('PEXPIRE', list, 60000)
end

local function last_position(prefix)
  return tonumber(redis.call('GET', prefix .. 'queue_position') or 0)
end

-- The present as a queue position: microseconds, and never below a position that was given, though the clock may be set back.
local function queue_now(prefix)
  return math.max(now_us(), last_position(prefix))
end

-- The next queue position: above every position given so far, because several runs may be queued in one microsecond.
local function next_position(prefix)
  local position = string.format('%.0f', math.max(now_us(), last_position(prefix) + 1))
  redis.call('SET', prefix .. 'queue_position', position)
  return position
end

-- The names of a run's indexes, one a line. None of them has a line end in it: names and tags are printable.
local function index_names(agent, state, session, tags)
  local names = 'agent:' .. agent .. '\nstate:' .. state
  if session ~= '' then names = names .. '\nsession:' .. session end
  for tag in tags:gmatch('[^\n]+') do names = names .. '\ntag:' .. tag end
  return names
end

local function add_to_indexes(prefix, id, names, position)
  redis.call('ZADD', prefix .. 'runs', position, id)
  redis.call('ZADD', prefix .. 'ids', 0, id)
  for name in names:gmatch('[^\n]+') do redis.call('ZADD', prefix .. 'index:' .. name, position, id) end
end

local function remove_from_indexes(prefix, id, names)
  redis.call('ZREM', prefix .. 'runs', id)
  redis.call('ZREM', prefix .. 'ids', id)
  for name in names:gmatch('[^\n]+') do redis.call('ZREM', prefix .. 'index:' .. name, id) end
end

local function move_to_state(prefix, id, former, state)
  local position = redis.call('ZSCORE', prefix .. 'runs', id)
  local leaves, enters = 'state:' .. (former or ''), 'state:' .. state
  redis.call('ZREM', prefix .. 'index:' .. leaves, id)
  if position then redis.call('ZADD', prefix .. 'index:' .. enters, position, id) end
end

-- The run is gone at `until_ms`, and its entries in the indexes may go. By then its hash, which names them, does not exist,
-- so they are named here.
local function expire_from_indexes(prefix, id, names, until_ms)
  redis.call('ZADD', prefix .. 'expiring', string.format('%.0f', until_ms), names .. '\n\n' .. id)
end

-- Makes a queued run of its record 1, in no ready set yet. Returns its position.
local function create_run(prefix, id, agent, session, record, crash_limit, retention, metadata, tags)
  local run = prefix .. 'run:' .. id
  append_records(run, prefix .. 'log:' .. id, 0, 0, {record}) -- first: if another program has written to this log, the run must not exist
  local position = next_position(prefix)
  local created = string.format('%.0f', math.floor(position / 1000))
  redis.call('HSET', run, 'state', 'queued', 'epoch', 0, 'token', '', 'crashes', 0, 'crash_streak', 0, 'idle_owners', 0,
    'handovers', 0, 'errors', 0, 'inbox', 0, 'crash_limit', crash_limit, 'retention_ms', retention, 'agent', agent,
    'session', session, 'created', created, 'updated', created)
  if metadata ~= '' then redis.call('HSET', run, 'metadata', metadata, 'tags', tags) end
  add_to_indexes(prefix, id, index_names(agent, 'queued', session, tags), position)
  return position
end

local function set_deadline(prefix, id, deadline)
  redis.call('HSET', prefix .. 'run:' .. id, 'deadline', string.format('%.0f', deadline))
  redis.call('ZADD', prefix .. 'deadlines', string.format('%.0f', deadline), id)
end

-- A run whose owners crashed twice in a row is a suspect: it is queued apart, for a worker that holds no other run. Past
-- its limit it is no longer run, so its next owner, which fails it, may hold others. `is_suspect` in values.py is the
-- same.
local function is_suspect(streak, limit)
  return streak > 0 and streak >= math.min(2, limit) and streak <= limit
end

-- The queue for the runs of an agent that workers with this framework began.
local function own_queue(agent, framework) return agent .. ':' .. framework end

local function has_worker(prefix, queue)
  return redis.call('ZCOUNT', prefix .. 'serving:' .. queue, '(' .. now_ms(), '+inf') > 0
end

-- The queue that a run enters: that of its framework, if it has one and a worker with it is alive; else that of its agent.
local function queue_of(prefix, agent, framework)
  local own = framework and own_queue(agent, framework)
  if not own or not has_worker(prefix, own) then return agent end
  redis.call('ZADD', prefix .. 'queues', 0, own)
  return own
end

-- Queues a run after all others. One that must wait, for `delay` ms, has the position of the time at which it is due:
-- claims take positions up to the present only, and no worker is woken now.
local function enqueue(prefix, id, delay)
  local h = redis.call('HMGET', prefix .. 'run:' .. id, 'agent', 'crash_streak', 'crash_limit', 'framework')
  local queue = queue_of(prefix, h[1], h[4])
  local position = delay and string.format('%.0f', now_us() + delay * 1000) or next_position(prefix)
  if is_suspect(tonumber(h[2] or 0), tonumber(h[3])) then
    redis.call('ZADD', prefix .. 'suspects:' .. queue, position, id)
  else
    redis.call('ZADD', prefix .. 'ready:' .. queue, position, id)
  end
  if delay then return end
  notify(prefix .. 'notify_agent:' .. queue, id)
end

-- The run that holds the session and has not ended, and its state; nil if the session is free.
local function holder_of(prefix, session)
  local holder = redis.call('HGET', prefix .. 'session:' .. session, 'holder')
  local state = holder and redis.call('HGET', prefix .. 'run:' .. holder, 'state')
  if state and not ended(state) then return holder, state end
end

-- A session has neither messages nor a run: only the number of its messages that were cut stays, until its TTL.
local function forget_session(prefix, session)
  local about = prefix .. 'about:' .. session
  redis.call('ZREM', prefix .. 'sessions', session)
  if redis.call('HGET', about, 'cut') then redis.call('HDEL', about, 'created', 'used', 'messages', 'agent_state') else redis.call('DEL', about) end
end

-- The run `id` gives up its session, or stops waiting for it; the first waiting run that is still queued takes the session.
-- The run is kept until `until_ms`, and so are the messages of a session that it held.
local function pass_session_on(prefix, session, id, now, until_ms)
  if session == '' then return end
  local key, waiting = prefix .. 'session:' .. session, prefix .. 'waiting:' .. session
  redis.call('LREM', waiting, 0, id)
  if redis.call('HGET', key, 'holder') ~= id then return end
  redis.call('HSET', prefix .. 'about:' .. session, 'used', now)
  redis.call('ZADD', prefix .. 'sessions', next_position(prefix), session)
  local kept = math.max(tonumber(redis.call('HGET', key, 'kept_until') or 0), until_ms)
  local next_id = redis.call('LPOP', waiting)
  while next_id do
    if redis.call('HGET', prefix .. 'run:' .. next_id, 'state') == 'queued' then
      redis.call('HSET', key, 'holder', next_id, 'kept_until', string.format('%.0f', kept))
      enqueue(prefix, next_id)
      return
    end
    next_id = redis.call('LPOP', waiting)
  end
  redis.call('HDEL', key, 'holder', 'kept_until')
  local last = string.format('%.0f', math.max(kept, now + SESSION_RETENTION_MS))
  redis.call('PEXPIREAT', prefix .. 'messages:' .. session, last)
  redis.call('PEXPIREAT', prefix .. 'about:' .. session, last)
  if redis.call('EXISTS', prefix .. 'messages:' .. session) == 0 then forget_session(prefix, session) end
end

-- A run that names these definitions has ended, and is kept until `until_ms`: so are they, if no other run keeps them longer.
local function keep_definitions(prefix, digests, until_ms)
  for digest in digests:gmatch('%S+') do
    local definition = prefix .. 'definition:' .. digest
    if redis.call('TYPE', definition).ok == 'hash' then -- else another program deleted it or wrote to its key
      local last = string.format('%.0f', math.max(tonumber(redis.call('HGET', definition, 'kept_until') or 0), until_ms))
      redis.call('HSET', definition, 'kept_until', last)
      if redis.call('HINCRBY', definition, 'live', -1) <= 0 then redis.call('PEXPIREAT', definition, last) end
    end
  end
end

-- The prompts that were submitted as steers to a run that ends now, and that no owner has received, become runs of its
-- session, before those that wait for it.
local function queue_steers(prefix, id, agent, session)
  local steers, left, made = redis.call('LRANGE', prefix .. 'steers:' .. id, 0, -1), {}, {}
  if #steers == 0 then return end
  redis.call('DEL', prefix .. 'steers:' .. id)
  for _, signal in ipairs(redis.call('LRANGE', prefix .. 'inbox:' .. id, 0, -1)) do left[signal] = true end
  for s = 1, #steers, STEER_PARTS do
    local new = steers[s + 1]
    if left[steers[s]] and redis.call('EXISTS', prefix .. 'run:' .. new) == 0 and pcall(create_run, prefix, new, agent,
        session, steers[s + 2], steers[s + 4], steers[s + 5], steers[s + 6], steers[s + 7]) then
      made[#made + 1] = new
      if steers[s + 3] ~= '0' then set_deadline(prefix, new, tonumber(steers[s + 3])) end
      redis.call('DEL', prefix .. 'steered:' .. new)
    end
  end
  local others = redis.call('LRANGE', prefix .. 'waiting:' .. session, 0, -1)
  redis.call('DEL', prefix .. 'waiting:' .. session)
  for _, some in ipairs({made, others}) do
    for _, one in ipairs(some) do redis.call('RPUSH', prefix .. 'waiting:' .. session, one) end
  end
end

local end_children -- below: the end of a run and that of its children call each other

-- What every end of a run has in common, by its owner or without it. The token stays, so that a repeat is recognised.
local function end_run(prefix, id, state, retention, now)
  local run = prefix .. 'run:' .. id
  local h = redis.call('HMGET', run, 'agent', 'session', 'deadline', 'definitions', 'state', 'tags', 'children',
    'framework')
  move_to_state(prefix, id, h[5], state)
  expire_from_indexes(prefix, id, index_names(h[1], state, h[2] or '', h[6] or ''), now + retention)
  redis.call('HSET', run, 'state', state, 'updated', now, 'inbox', 0)
  redis.call('ZREM', prefix .. 'leases', id)
  for _, queue in ipairs({h[1], h[8] and own_queue(h[1], h[8]) or nil}) do
    redis.call('ZREM', prefix .. 'ready:' .. queue, id)
    redis.call('ZREM', prefix .. 'suspects:' .. queue, id)
  end
  if h[3] then redis.call('ZREM', prefix .. 'deadlines', id) end
  queue_steers(prefix, id, h[1], h[2] or '')
  redis.call('DEL', prefix .. 'inbox:' .. id)
  redis.call('PEXPIRE', run, retention)
  redis.call('PEXPIRE', prefix .. 'log:' .. id, retention)
  keep_definitions(prefix, h[4] or '', now + retention)
  pass_session_on(prefix, h[2] or '', id, now, now + retention)
  if h[7] then end_children(prefix, h[7], now) end
end

-- Ends a run that has no owner and was cancelled; the records were sent with the signal.
local function end_cancelled(prefix, id, now, records)
  local h = redis.call('HMGET', prefix .. 'run:' .. id, 'head', 'epoch', 'retention_ms')
  append_end(prefix, id, h[1], h[2], records)
  end_run(prefix, id, 'cancelled', tonumber(h[3]), now)
end

local function has_cancel(prefix, id, cancel)
  for _, signal in ipairs(cancel and redis.call('LRANGE', prefix .. 'inbox:' .. id, 0, -1) or {}) do
    if signal == cancel then return true end
  end
  return false
end

local function cancel_records(run, count)
  local records = {}
  for r = 1, tonumber(count) do records[r] = redis.call('HGET', run, 'cancel_record:' .. r) end
  return records
end

-- Cancels the children of a run that has ended, as far as they have not: at once without an owner, else by a signal to it.
end_children = function(prefix, children, now)
  for id in children:gmatch('%S+') do
    local run = prefix .. 'run:' .. id
    local h = redis.call('HMGET', run, 'state', 'worker', 'cancel_signal', 'cancel_records')
    -- Without a cancel of its own it is not the child, which was deleted, but another run with its id.
    if h[1] and h[3] and not ended(h[1]) and not has_cancel(prefix, id, h[3]) then
      if h[1] == 'running' then
        redis.call('RPUSH', prefix .. 'inbox:' .. id, h[3])
        redis.call('HINCRBY', run, 'inbox', 1)
        notify(prefix .. 'notify_worker:' .. h[2], id)
      else
        end_cancelled(prefix, id, now, cancel_records(run, h[4]))
      end
    end
  end
end

-- Puts a signal into a run's inbox and wakes its owner. `records` end the run if it has no owner, or when none receives the
-- signal. Returns the run's state.
local function put_signal(prefix, id, state, signal_id, signal, records)
  local run = prefix .. 'run:' .. id
  redis.call('HSET', run, 'signal:' .. signal_id, 1)
  if #records > 0 and state ~= 'running' then
    end_cancelled(prefix, id, now_ms(), records)
    return 'cancelled'
  end
  redis.call('RPUSH', prefix .. 'inbox:' .. id, signal)
  redis.call('HINCRBY', run, 'inbox', 1)
  if #records > 0 then
    redis.call('HSET', run, 'cancel_signal', signal, 'cancel_records', #records)
    for r, record in ipairs(records) do redis.call('HSET', run, 'cancel_record:' .. r, record) end
  end
  if state == 'running' then notify(prefix .. 'notify_worker:' .. redis.call('HGET', run, 'worker'), id) end
  return state
end

-- Takes the run from its owner and queues it after all others, or for the time when `delay` is over; or ends it, if it has
-- a cancel that its owner did not take in.
local function requeue(prefix, id, now, delay)
  local run = prefix .. 'run:' .. id
  redis.call('ZREM', prefix .. 'leases', id)
  redis.call('HSET', run, 'state', 'queued', 'token', '', 'worker', '', 'updated', now)
  move_to_state(prefix, id, 'running', 'queued')
  local h = redis.call('HMGET', run, 'cancel_signal', 'cancel_records')
  if has_cancel(prefix, id, h[1] or nil) then return end_cancelled(prefix, id, now, cancel_records(run, h[2])) end
  enqueue(prefix, id, delay)
end

-- Takes the run from an owner that died or is silent for a lease, and queues it. It counts as a crash until that owner is
-- heard of again: `give_up` knows it by its token. `ended` is how its process ended, '' if that is not known.
local function take_from_owner(prefix, id, now, ended)
  local run = prefix .. 'run:' .. id
  redis.call('HINCRBY', run, 'crashes', 1)
  redis.call('HINCRBY', run, 'crash_streak', 1)
  redis.call('HINCRBY', run, 'idle_owners', 1)
  local h = redis.call('HMGET', run, 'token', 'worker', 'agent', 'framework')
  local silent = ended == '' and h[1] or ''
  -- Else the run would wait for this worker, which announces itself again if it is alive.
  if h[4] then redis.call('ZREM', prefix .. 'serving:' .. own_queue(h[3], h[4]), h[2]) end
  redis.call('HSET', run, 'silent_token', silent, 'crash_end', ended)
  requeue(prefix, id, now)
end

-- Stores the owner's last records and ends the ownership. Returns status, head, signals waiting; after OK the caller decides
-- the run's next state. The token and the head are kept as `released_…` only so that a repeat is recognised.
local function append_and_release(run, log, inbox, token, expected, acknowledged, records)
  local status, head, waiting, epoch = fence(run, token, expected, #records, 'released')
  if status ~= STATUS.OK then return status, head, waiting end
  head = append_records(run, log, head, epoch, records)
  if not head then return STATUS.GONE, 0, 0 end
  waiting = acknowledge(run, inbox, acknowledged, waiting)
  redis.call('HSET', run, 'token', '', 'released_token', token, 'released_head', string.format('%.0f', head))
  return status, head, waiting
end
