-- Makes a run of the parts that `import_part` has stored: one that has ended, or a fork, which is queued.
--
-- Keys: 1 run hash, 2 log stream, 3 importing hash, 4 messages stream of the run's session (the run's log again if it has
--   none)
-- Arguments: 1 prefix, 2 run id, 3 token of this import, 4 its records, 5 its messages, 6 retention in ms, 7 state,
--   8 agent, 9 session or '', 10 epoch, 11 crashes, 12 handovers, 13 errors, 14 created, 15 updated, 16 worker or '',
--   17 deadline or '', 18 crash limit, 19 metadata as JSON or '', 20 its tags, one a line, 21 messages that had been cut
--   from the session before, 22 number of definitions, then of each its digest and the definition, last the agent's state in
--   the session of a fork or ''
-- Answers: 1 the run exists, by this call or by an earlier try of it, unless that is a fork which was claimed since; 0
--   another run has this id, or another import of it has begun, and nothing was changed
-- Invariant: an imported run is in a terminal state from its first moment, so it is in no queue and has no lease; its keys
--   have a TTL; lists have it where it was submitted. A fork is queued when it is whole, as by `submit`, and holds its session; its keys have no TTL. No other run
--   has that session. The definitions stay as long as the run.

local LAST_MS = 4102444800000 -- the year 2100: an imported run may have any time, and a position must stay a whole number

local run, log, importing, messages = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, id, token, head, retention = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
local existing = redis.call('HMGET', run, 'token', 'state')
if existing[2] then return existing[1] == token and 1 or 0 end
local h = redis.call('HMGET', importing, 'token', 'records', 'messages', 'said')
if h[1] ~= token or h[2] ~= head or h[3] ~= ARGV[5] or redis.call('EXISTS', log) == 0 then return 0 end

-- A position at a time, in ms, that no run has; later if the runs of that millisecond have them all.
local function position_at(ms)
  local first, last = string.format('%.0f', ms * 1000), string.format('%.0f', ms * 1000 + 999)
  local found = redis.call('ZRANGE', prefix .. 'runs', last, first, 'BYSCORE', 'REV', 'LIMIT', 0, 1, 'WITHSCORES')
  if not found[2] then return first end
  return tonumber(found[2]) < ms * 1000 + 999 and string.format('%.0f', found[2] + 1) or position_at(ms + 1)
end

local now, queued, digests = now_ms(), ARGV[7] == 'queued', {}
local position = queued and next_position(prefix) or position_at(math.max(0, math.min(tonumber(ARGV[14]), LAST_MS)))
local created = string.format('%.0f', queued and math.floor(position / 1000) or ARGV[14])
for d = 1, tonumber(ARGV[22]) do
  local digest, data = ARGV[21 + 2 * d], ARGV[22 + 2 * d]
  local definition = prefix .. 'definition:' .. digest
  redis.call('HSET', definition, 'definition', data)
  redis.call('HINCRBY', definition, 'live', 1)
  redis.call('PERSIST', definition)
  digests[d] = digest
end
redis.call('HSET', run, 'state', ARGV[7], 'agent', ARGV[8], 'session', ARGV[9], 'head', head, 'epoch', ARGV[10],
  'token', token, 'worker', ARGV[16], 'inbox', 0, 'crashes', ARGV[11],
  'crash_streak', 0, 'idle_owners', 0, 'handovers', ARGV[12], 'errors', ARGV[13],
  'crash_limit', ARGV[18], 'retention_ms', retention, 'created', created, 'updated', queued and created or ARGV[15],
  'definitions', table.concat(digests, ' '))
if ARGV[19] ~= '' then redis.call('HSET', run, 'metadata', ARGV[19], 'tags', ARGV[20]) end
if ARGV[17] ~= '' then redis.call('HSET', run, 'deadline', ARGV[17]) end
local names = index_names(ARGV[8], ARGV[7], ARGV[9], ARGV[20])
local about = prefix .. 'about:' .. ARGV[9]
if ARGV[21] ~= '0' then redis.call('HSET', about, 'cut', ARGV[21]) end
if queued then
  redis.call('PERSIST', log)
  redis.call('PERSIST', messages)
  if ARGV[9] ~= '' then
    redis.call('HSET', prefix .. 'session:' .. ARGV[9], 'holder', id)
    redis.call('HSET', about, 'created', now, 'used', now, 'messages', h[4] or 0)
    local agent_state = ARGV[23 + 2 * tonumber(ARGV[22])]
    if agent_state ~= '' then redis.call('HSET', about, 'agent_state', agent_state) end
    redis.call('ZADD', prefix .. 'sessions', next_position(prefix), ARGV[9])
  end
else
  local last = string.format('%.0f', now + retention)
  keep_definitions(prefix, table.concat(digests, ' '), now + retention)
  redis.call('PEXPIREAT', run, last)
  redis.call('PEXPIREAT', log, last)
  redis.call('PEXPIREAT', messages, last)
  expire_from_indexes(prefix, id, names, now + retention)
  redis.call('PEXPIREAT', about, last)
end
redis.call('DEL', importing)
add_to_indexes(prefix, id, names, position)
if queued then enqueue(prefix, id) end
return 1
