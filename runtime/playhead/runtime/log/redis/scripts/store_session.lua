-- Makes a session with messages, which are copied from another one.
--
-- Keys: 1 session hash, 2 messages stream, 3 about hash, 4 sessions index
-- Arguments: 1 prefix, 2 session, 3 the agent's state or '', then the messages
-- Answers: 1 stored; 0 the session has messages or a run that has not ended, and nothing was changed
-- Invariant: the messages are stored at once or not at all, and no other session is changed. If the session was deleted before,
--   the numbers of its messages go on, see cut_session.lua.

local messages, about, sessions = KEYS[2], KEYS[3], KEYS[4]
local prefix, name = ARGV[1], ARGV[2]
if redis.call('EXISTS', messages) == 1 then return 0 end
if holder_of(prefix, name) then return 0 end
local now, count = now_ms(), #ARGV - 3
local left = math.max(redis.call('PTTL', about), SESSION_RETENTION_MS)
local said = 0
for number = 1, count do
  if is_message(ARGV[number + 3]) then said = said + 1 end
  redis.call('XADD', messages, string.format('%d-0', number), 'm', ARGV[number + 3])
end
redis.call('HSET', about, 'created', now, 'used', now, 'messages', said)
if ARGV[3] ~= '' then redis.call('HSET', about, 'agent_state', ARGV[3]) end
redis.call('PEXPIRE', messages, left)
redis.call('PEXPIRE', about, left)
redis.call('ZADD', sessions, next_position(prefix), name)
return 1
