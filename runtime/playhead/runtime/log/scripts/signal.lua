-- Sends a signal to a run: into its inbox, or, a cancel of a run nobody holds, into effect at once.
--
-- Keys: 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 prefix, 2 run id, 3 signal id, 4 '1' if the records that follow end a queued run, else '0',
--   5 encoded signal, 6 retention in ms, 7.. records to append at once
-- Answers: the run's state after the call; nil if there is no such run
-- Invariant: the same signal id counts once; a signal to an ended run changes nothing; a cancelled run that nobody
--   holds has its terminal record when this returns.

local run, log, inbox = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, mark = ARGV[1], ARGV[2], 'sig:' .. ARGV[3]
local h = redis.call('HMGET', run, 'state', 'head', 'epoch', 'worker', mark)
local state = h[1]
if not state then return false end
if ended(state) or h[5] then return state end
redis.call('HSET', run, mark, 1)
if state == 'queued' and ARGV[4] == '1' then
  local records = {}
  for r = 7, #ARGV do records[r - 6] = ARGV[r] end
  write(run, log, tonumber(h[2]), tonumber(h[3]), records)
  redis.call('ZREM', prefix .. 'ready:' .. redis.call('HGET', run, 'agent'), id)
  retire(prefix, id, 'cancelled', tonumber(ARGV[6]), now_ms())
  return 'cancelled'
end
redis.call('RPUSH', inbox, ARGV[5])
redis.call('HINCRBY', run, 'inbox', 1)
if state == 'running' then ring(prefix .. 'bell@' .. h[4], id) end
return state
