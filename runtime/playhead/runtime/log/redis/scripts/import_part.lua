-- Stores a part of a run that is imported or forked: records, and messages of its session. Readers do not see it yet.
--
-- Keys: 1 importing hash, 2 run hash, 3 log stream, 4 messages stream of the run's session (the run's log again if it has
--   none)
-- Arguments: 1 token of this import, 2 records stored before, 3 messages stored before, 4 number of records, then of each
--   its epoch and the record, number of messages, messages
-- Answers: 1 stored, by this call or by an earlier try of it; 0 the run exists or another import of it has begun, nothing
--   was changed
-- Invariant: a log without a run's hash belongs to one import, that of the token, and goes by itself: so one that breaks
--   off leaves nothing, and the next one begins anew.

local KEEP_MS = 3600000 -- much longer than the pause between two parts

local importing, run, log, messages = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, records_before, messages_before = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local count = tonumber(ARGV[4])
local message_count = tonumber(ARGV[5 + 2 * count])
if redis.call('EXISTS', run) == 1 then return 0 end
local h = redis.call('HMGET', importing, 'token', 'records', 'messages', 'said')
if h[1] ~= token then
  if records_before > 0 or messages_before > 0 then return 0 end
  redis.call('DEL', log)
  redis.call('DEL', messages)
  h = {token, 0, 0, 0}
end
local stored_records, stored_messages = tonumber(h[2]), tonumber(h[3])
if stored_records == records_before + count and stored_messages == messages_before + message_count then return 1 end
if stored_records ~= records_before or stored_messages ~= messages_before then return 0 end

for r = 1, count do
  redis.call('XADD', log, string.format('%d-%d', records_before + r, ARGV[3 + 2 * r]), 'r', ARGV[4 + 2 * r])
end
local said = tonumber(h[4] or 0)
for m = 1, message_count do
  if is_message(ARGV[5 + 2 * count + m]) then said = said + 1 end
  redis.call('XADD', messages, string.format('%d-0', messages_before + m), 'm', ARGV[5 + 2 * count + m])
end
redis.call('HSET', importing, 'token', token, 'records', records_before + count, 'messages', messages_before + message_count,
  'said', said)
redis.call('PEXPIRE', importing, KEEP_MS)
redis.call('PEXPIRE', log, KEEP_MS)
redis.call('PEXPIRE', messages, KEEP_MS)
return 1
