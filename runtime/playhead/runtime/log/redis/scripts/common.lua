-- Functions the other scripts share; put before each of them when it is loaded. Not a script by itself.
--
-- Before it, in turn, goes one line: PUBLISH, the command that publishes. It is `SPUBLISH` on a server that says of itself
--   that it is a node of a cluster, of version 7 or later, so that the other nodes carry nothing of it; else `PUBLISH`.
--   Who listens asks the server in the same way (`HELLO`), and so hears by the command that belongs to it.
-- Keys: none of its own. Names of keys that only the run's record can tell (its session's, its agent's) are built from
--   the prefix, which carries the shard's hash tag, so every key lies in the slot of the declared ones.
-- Arguments: none.
-- Answers: none.
-- Invariant: a session is held by at most one run that has not ended, and a run that waits for its session is in no
--   ready set. A session's messages have a TTL if and only if no run holds it. Queue positions grow and each is given
--   once: runs are claimed in the order in which they were queued, whatever the clock does.

local SESSION_RETENTION_MS = 2592000000 -- thirty days, as in values.py: a conversation that has ended must not stay

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function clock_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function last_position(prefix)
  return tonumber(redis.call('GET', prefix .. 'queue_position') or 0)
end

-- The present as a queue position: microseconds, and never below a position that was given, though the clock may be set back.
local function queue_now(prefix)
  return math.max(clock_us(), last_position(prefix))
end

-- The next queue position: above every position given so far, because several runs may be queued in one microsecond.
local function next_position(prefix)
  local position = string.format('%.0f', math.max(clock_us(), last_position(prefix) + 1))
  redis.call('SET', prefix .. 'queue_position', position)
  return position
end

-- What follows the writing of records: the head, and one batch on the channel:
-- "<first seq>-<epoch> <number of records>\n" and the records, one behind the other.
local function advance_head(run, log, head, epoch, records)
  redis.call('HSET', run, 'head', string.format('%d', head + #records))
  -- Not `call`: a user without rights to the channel must not break a script off in the middle of its writes.
  redis.pcall(PUBLISH, log, string.format('%d-%d %d\n', head + 1, epoch, #records) .. table.concat(records))
end

-- Appends records behind `head`; the new head.
local function append_records(run, log, head, epoch, records)
  if #records == 0 then return head end
  local call, format = redis.call, string.format -- `%d`: what is written as a float takes a tenth of the call
  for i = 1, #records do call('XADD', log, format('%d-%d', head + i, epoch), 'r', records[i]) end
  advance_head(run, log, head, epoch, records)
  return head + #records
end

-- The records that end a run without its owner. A log that takes none, because another program wrote to its key, must not keep
-- the run: it ends without them. Only behind another write, so that it is not the lack of memory that refuses.
local function append_end(prefix, id, head, epoch, records)
  pcall(append_records, prefix .. 'run:' .. id, prefix .. 'log:' .. id, tonumber(head), tonumber(epoch), records)
end

local function notify(list, id)
  redis.call('RPUSH', list, id)
  redis.call('LTRIM', list, -100, -1)
  redis.call('PEXPIRE', list, 60000)
end

local function enqueue(prefix, id)
  local agent = redis.call('HGET', prefix .. 'run:' .. id, 'agent')
  redis.call('ZADD', prefix .. 'ready:' .. agent, next_position(prefix), id)
  notify(prefix .. 'notify_agent:' .. agent, id)
end

local function ended(state)
  return state == 'completed' or state == 'failed' or state == 'cancelled'
end

-- The run `id` gives up its session; the first waiting run that still wants it takes it.
local function pass_session_on(prefix, session, id)
  if session == '' then return end
  local key, waiting = prefix .. 'session:' .. session, prefix .. 'waiting:' .. session
  redis.call('LREM', waiting, 0, id)
  if redis.call('HGET', key, 'holder') ~= id then return end
  local next_id = redis.call('LPOP', waiting)
  while next_id do
    if redis.call('HGET', prefix .. 'run:' .. next_id, 'state') == 'queued' then
      redis.call('HSET', key, 'holder', next_id)
      enqueue(prefix, next_id)
      return
    end
    next_id = redis.call('LPOP', waiting)
  end
  redis.call('HDEL', key, 'holder')
  redis.call('PEXPIRE', prefix .. 'messages:' .. session, SESSION_RETENTION_MS)
end

-- What every end of a run has in common, by its owner or without it. The token stays, so that a repeat is known as such.
local function end_run(prefix, id, state, retention, now)
  local run = prefix .. 'run:' .. id
  local h = redis.call('HMGET', run, 'agent', 'session', 'deadline')
  redis.call('HSET', run, 'state', state, 'updated', now, 'inbox', 0)
  redis.call('ZREM', prefix .. 'leases', id)
  redis.call('ZREM', prefix .. 'ready:' .. h[1], id)
  if h[3] then redis.call('ZREM', prefix .. 'deadlines', id) end
  redis.call('DEL', prefix .. 'inbox:' .. id)
  redis.call('PEXPIRE', run, retention)
  redis.call('PEXPIRE', prefix .. 'log:' .. id, retention)
  pass_session_on(prefix, h[2] or '', id)
end

-- The end that a cancel asked for, written by the call that finds the run without an owner: the records came with the signal.
local function end_cancelled(prefix, id, now, records)
  local h = redis.call('HMGET', prefix .. 'run:' .. id, 'head', 'epoch', 'retention_ms')
  append_end(prefix, id, h[1], h[2], records)
  end_run(prefix, id, 'cancelled', tonumber(h[3]), now)
end

-- The run has no owner any more: back in line, at its end; or, if its owner left a cancel untaken, to its end.
local function requeue(prefix, id, now)
  local run = prefix .. 'run:' .. id
  redis.call('ZREM', prefix .. 'leases', id)
  redis.call('HSET', run, 'state', 'queued', 'token', '', 'worker', '', 'updated', now)
  local h = redis.call('HMGET', run, 'cancel_signal', 'cancel_records')
  for _, signal in ipairs(h[1] and redis.call('LRANGE', prefix .. 'inbox:' .. id, 0, -1) or {}) do
    if signal == h[1] then
      local records = {}
      for r = 1, tonumber(h[2]) do records[r] = redis.call('HGET', run, 'cancel_record:' .. r) end
      return end_cancelled(prefix, id, now, records)
    end
  end
  enqueue(prefix, id)
end

-- The owner's last batch of an ownership that it ends by itself. Answers code, head, signals waiting; after 0 the caller
-- says what becomes of the run. The token is set aside, with the head it left, only to know a repeat as DUP.
local function append_and_release(run, log, inbox, token, expected, ack, records)
  local h = redis.call('HMGET', run, 'token', 'state', 'head', 'epoch', 'inbox', 'released_token', 'released_head')
  if not h[1] then return 4, 0, 0 end
  local head, waiting = tonumber(h[3]), tonumber(h[5])
  if h[6] == token and tonumber(h[7]) == expected + #records then return 1, head, waiting end
  if h[1] ~= token or h[2] ~= 'running' then return 3, head, waiting end
  if head ~= expected then return 2, head, waiting end
  head = append_records(run, log, head, tonumber(h[4]), records)
  if ack > 0 then
    redis.call('LTRIM', inbox, ack, -1)
    waiting = redis.call('HINCRBY', run, 'inbox', -math.min(ack, waiting))
  end
  redis.call('HSET', run, 'token', '', 'released_token', token, 'released_head', string.format('%.0f', head))
  return 0, head, waiting
end

-- `count` arguments from ARGV[from] on.
local function arguments(from, count)
  local some = {}
  for i = 1, count do some[i] = ARGV[from + i - 1] end
  return some
end
