-- Ends a run: last records, state, session messages, lease, retention and the next run of the session, all at once.
--
-- Keys: 1 run hash, 2 log stream, 3 messages stream of the session (the run's log again if it has no session)
-- Arguments: 1 prefix, 2 run id, 3 token, 4 head expected, 5 state, 6 retention in ms, 7 number of records, records,
--   number of messages, messages
-- Answers: {code, head, signals waiting} as append
-- Invariant: a run is in a terminal state if and only if its last record is terminal, and from then on its keys have a
--   TTL. The session's messages go in with the end or not at all.

local run, log, messages = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, token, expected = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local state, retention, count = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local h = redis.call('HMGET', run, 'token', 'state', 'head', 'epoch', 'session', 'inbox')
if not h[1] then return {4, 0, 0} end
local head = tonumber(h[3])
if h[1] ~= token then return {3, head, 0} end
if h[2] == state and head == expected + count then return {1, head, 0} end
if h[2] ~= 'running' then return {3, head, 0} end
if head ~= expected then return {2, head, tonumber(h[6])} end

local records = {}
for r = 1, count do records[r] = ARGV[7 + r] end
head = write(run, log, head, tonumber(h[4]), records)
if h[5] ~= '' and messages ~= log then
  local length = redis.call('XLEN', messages)
  for m = 1, tonumber(ARGV[8 + count]) do
    redis.call('XADD', messages, string.format('%.0f-0', length + m), 'm', ARGV[8 + count + m])
  end
end
retire(prefix, id, state, retention, now_ms())
return {0, head, 0}
