-- Functions the other scripts share; put before each of them when it is loaded. Not a script by itself.
--
-- Keys: none of its own. Names of keys that only the run's record can tell (its session's, its agent's) are built from
--   the prefix, which carries the shard's hash tag, so every key lies in the slot of the declared ones.
-- Arguments: none.
-- Answers: none.
-- Invariant: a session is held by at most one run that has not ended, and a run that waits for its session is in no
--   ready set. A session's messages have a TTL if and only if no run holds it.

local SESSION_RETENTION_MS = 2592000000 -- thirty days, as in base.py: a conversation nobody goes on with must not stay

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Appends records behind `head` and publishes them as one batch: "<first seq>-<epoch>\n" and the records, joined.
local function write(run, log, head, epoch, records)
  if #records == 0 then return head end
  for i = 1, #records do
    redis.call('XADD', log, string.format('%.0f-%.0f', head + i, epoch), 'r', records[i])
  end
  redis.call('HSET', run, 'head', string.format('%.0f', head + #records))
  redis.call('PUBLISH', log, string.format('%.0f-%.0f\n', head + 1, epoch) .. table.concat(records))
  return head + #records
end

local function ring(bell, id)
  redis.call('RPUSH', bell, id)
  redis.call('LTRIM', bell, -100, -1)
  redis.call('PEXPIRE', bell, 60000)
end

local function enqueue(prefix, id, due)
  local agent = redis.call('HGET', prefix .. 'run:' .. id, 'agent')
  redis.call('ZADD', prefix .. 'ready:' .. agent, due, id)
  ring(prefix .. 'bell:' .. agent, id)
end

local function ended(state)
  return state == 'completed' or state == 'failed' or state == 'cancelled'
end

-- The run `id` gives up its session; the first waiting run that still wants it takes it.
local function pass_session_on(prefix, session, id, now)
  if session == '' then return end
  local key, waiting = prefix .. 'session:' .. session, prefix .. 'waiting:' .. session
  redis.call('LREM', waiting, 0, id)
  if redis.call('HGET', key, 'run') ~= id then return end
  local next_id = redis.call('LPOP', waiting)
  while next_id do
    if redis.call('HGET', prefix .. 'run:' .. next_id, 'state') == 'queued' then
      redis.call('HSET', key, 'run', next_id)
      enqueue(prefix, next_id, now)
      return
    end
    next_id = redis.call('LPOP', waiting)
  end
  redis.call('HDEL', key, 'run')
  redis.call('PEXPIRE', prefix .. 'messages:' .. session, SESSION_RETENTION_MS)
end

-- What every end of a run has in common, whoever writes it. The token stays, so that a repeat is known as such.
local function retire(prefix, id, state, retention, now)
  local run = prefix .. 'run:' .. id
  redis.call('HSET', run, 'state', state, 'updated', now, 'inbox', 0)
  redis.call('ZREM', prefix .. 'leases', id)
  redis.call('DEL', prefix .. 'inbox:' .. id)
  redis.call('PEXPIRE', run, retention)
  redis.call('PEXPIRE', prefix .. 'log:' .. id, retention)
  pass_session_on(prefix, redis.call('HGET', run, 'session') or '', id, now)
end
