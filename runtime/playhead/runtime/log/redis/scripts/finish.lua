-- Ends a run: last records, state, session messages, lease, retention and the next run of the session, all at once.
--
-- Keys: 1 run hash, 2 log stream, 3 messages stream of the session (the run's log again if it has no session)
-- Arguments: 1 prefix, 2 run id, 3 token, 4 head expected, 5 signals acknowledged, 6 state, 7 retention in ms,
--   8 number of records, records, number of messages, messages
-- Answers: {code, head, signals waiting} as append; code 5 WAITING: a run that is to complete has signals that its owner
--   has not taken in, and nothing was stored
-- Invariant: a run is in a terminal state if and only if its last record is terminal, and from then on its keys have a
--   TTL. The session's messages go in with the end or not at all. No signal sent before a completion is lost in it.

local run, log, messages = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, token, expected, ack = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local state, retention, count = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local h = redis.call('HMGET', run, 'token', 'state', 'head', 'epoch', 'session', 'inbox')
if not h[1] then return {4, 0, 0} end
local head = tonumber(h[3])
if h[1] ~= token or token == '' then return {3, head, tonumber(h[6])} end -- the reaper leaves a run that it ended without a token
if h[2] == state and head == expected + count then return {1, head, 0} end
if h[2] ~= 'running' then return {3, head, tonumber(h[6])} end
if head ~= expected then return {2, head, tonumber(h[6])} end
if state == 'completed' and tonumber(h[6]) > ack then return {5, head, tonumber(h[6])} end
if messages ~= log and messages ~= prefix .. 'messages:' .. h[5] then
  return redis.error_reply('ERR run ' .. id .. ' is not of the session behind ' .. messages)
end

head = append_records(run, log, head, tonumber(h[4]), arguments(9, count))
if messages ~= log then
  local length = redis.call('XLEN', messages)
  for m = 1, tonumber(ARGV[9 + count]) do
    redis.call('XADD', messages, string.format('%.0f-0', length + m), 'm', ARGV[9 + count + m])
  end
end
if state == 'failed' then redis.call('HINCRBY', run, 'errors', 1) end
end_run(prefix, id, state, retention, now_ms())
return {0, head, 0}
