-- Ends a run: last records, state, session messages, lease, retention and the next run of the session, all at once.
--
-- Keys: 1 run hash, 2 log stream, 3 messages stream and 4 about hash of the session (both the run's log again if it has no
--   session)
-- Arguments: 1 prefix, 2 run id, 3 token, 4 head expected, 5 signals acknowledged, 6 state, 7 retention in ms,
--   8 number of records, records, number of messages, messages, the agent's state or ''
-- Answers: {status, head, signals waiting} as append; WAITING: a run that is to complete has signals that its owner has
--   not taken in, and nothing was stored
-- Invariant: a run is in a terminal state if and only if its last record is terminal, and from then on its keys have a
--   TTL. The session's messages and its agent's state are stored with the end or not at all. No signal sent before a completion is lost in it.

local run, log, messages, about = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, id, token, expected, acknowledged = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local state, retention, count = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local status, head, waiting, epoch = fence(run, token, expected, count, state)
if status == STATUS.OK and state == 'completed' and waiting > acknowledged then status = STATUS.WAITING end
if status ~= STATUS.OK then return {status, head, waiting} end
if messages ~= log and messages ~= prefix .. 'messages:' .. redis.call('HGET', run, 'session') then
  return redis.error_reply('ERR playhead: run ' .. id .. ' is not of the session of ' .. messages)
end

head = append_records(run, log, head, epoch, arguments(9, count))
if not head then return {STATUS.GONE, 0, 0} end
if messages ~= log then
  local length, added = redis.call('XLEN', messages), tonumber(ARGV[9 + count])
  local said = tonumber(redis.call('HGET', about, 'messages') or length)
  for m = 1, added do
    redis.call('XADD', messages, string.format('%.0f-0', length + m), 'm', ARGV[9 + count + m])
    if is_message(ARGV[9 + count + m]) then said = said + 1 end
  end
  redis.call('HSET', about, 'messages', string.format('%.0f', said))
  local agent_state = ARGV[10 + count + added]
  if agent_state ~= '' then redis.call('HSET', about, 'agent_state', agent_state) end
end
if state == 'failed' then redis.call('HINCRBY', run, 'errors', 1) end
acknowledge(run, prefix .. 'inbox:' .. id, acknowledged, waiting) -- a steer that was received must not become a run
end_run(prefix, id, state, retention, now_ms())
return {STATUS.OK, head, 0}
