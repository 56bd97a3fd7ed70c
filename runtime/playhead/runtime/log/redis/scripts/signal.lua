-- Sends a signal to a run: it is put into the inbox; a cancel of a run that has no owner ends the run at once.
--
-- Keys: 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 prefix, 2 run id, 3 signal id, 4 kind (cancel, respond or steer), 5 encoded signal, 6 number of records,
--   records that end a run without its owner (cancel only), number of interrupts answered, their ids (respond only)
-- Answers: {the run's state after the call}; {its state, ids} if these interrupts are not open; then nothing was changed;
--   nil if the run does not exist
-- Invariant: the same signal id counts once; an interrupt is answered once; a signal to an ended run changes nothing. A
--   cancelled run that has no owner has its terminal record when this returns; one that has an owner gets it at
--   the latest when it no longer has an owner, because the records to write then are kept.

local run = KEYS[1]
local prefix, id, signal_id, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if kind ~= 'cancel' and kind ~= 'respond' and kind ~= 'steer' then
  return redis.error_reply('ERR playhead: unknown kind of signal: ' .. kind)
end
local records = arguments(7, tonumber(ARGV[6]))
local answered = arguments(8 + #records, tonumber(ARGV[7 + #records]))
local h = redis.call('HMGET', run, 'state', 'signal:' .. signal_id)
local state = h[1]
if not state then return false end
if ended(state) or h[2] then return {state} end

local refused = {state}
for _, interrupt in ipairs(answered) do
  if redis.call('HEXISTS', run, 'interrupt:' .. interrupt) == 0 then refused[#refused + 1] = interrupt end
end
if #refused > 1 then return refused end

state = put_signal(prefix, id, state, signal_id, ARGV[5], records)
for _, interrupt in ipairs(answered) do redis.call('HDEL', run, 'interrupt:' .. interrupt) end
if state == 'paused' and kind == 'respond' then
  state = 'queued'
  redis.call('HSET', run, 'state', state, 'updated', now_ms())
  move_to_state(prefix, id, 'paused', state)
  enqueue(prefix, id)
end
return {state}
