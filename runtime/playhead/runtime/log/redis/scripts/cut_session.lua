-- Cuts the oldest messages of a session that no run holds; all of them to delete it.
--
-- Keys: 1 session hash, 2 messages stream, 3 about hash, 4 sessions index
-- Arguments: 1 prefix, 2 session, 3 the number of the last message to cut, counted over the life of the session; '' for all
-- Answers: 1 the session has no more than the messages that it is to keep; 0 it had none, nothing was changed; {run id, state}
--   this run holds it, nothing was changed
-- Invariant: no run that has not ended began from a message that is cut. Message n of the stream is number `cut` + n of the
--   session: `cut` stays as long as the log of a run that began from a message which was cut, also when no message is left, so
--   a new message never gets the number of another.

local messages, about, sessions = KEYS[2], KEYS[3], KEYS[4]
local prefix, name, upto = ARGV[1], ARGV[2], ARGV[3]
local holder, state = holder_of(prefix, name)
if holder then return {holder, state} end
local last = redis.call('XREVRANGE', messages, '+', '-', 'COUNT', 1)[1]
if not last then return 0 end
local count, cut = tonumber(last[1]:match('^%d+')), tonumber(redis.call('HGET', about, 'cut') or 0)
local drop = upto == '' and count or math.min(count, math.max(0, upto - cut))
if drop == 0 then return 1 end
local kept = drop < count and redis.call('XRANGE', messages, string.format('%.0f-0', drop + 1), '+') or {}
local left = redis.call('PTTL', messages)
if left < 0 then left = SESSION_RETENTION_MS end -- its run was deleted by another program
redis.call('DEL', messages)
local said = 0
for number, message in ipairs(kept) do
  if is_message(message[2][2]) then said = said + 1 end
  redis.call('XADD', messages, string.format('%d-0', number), 'm', message[2][2])
end
redis.call('PEXPIRE', messages, left)
redis.call('HSET', about, 'cut', string.format('%.0f', cut + drop), 'messages', said)
redis.call('PEXPIRE', about, left)
if #kept == 0 then forget_session(prefix, name) end
return 1
