-- Whether a worker that holds runs should hand over all of them, because a suspect waits for a worker that holds none.
--
-- Keys: 1 the worker that hands its runs over, 2.. one set of suspects per agent
-- Arguments: 1 worker, 2 how long it has for it, in ms
-- Answers: 1 it should, 0 it need not
-- Invariant: one worker at a time hands its runs over on this shard, so that the others go on with theirs.

local emptying, waiting = KEYS[1], 0
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
for i = 2, #KEYS do
  local suspects = KEYS[i]
  waiting = waiting + redis.call('ZCOUNT', suspects, '-inf', now_us) -- one that waits until later needs no worker yet
end
if waiting == 0 then return 0 end
local chosen = redis.call('GET', emptying)
if chosen and chosen ~= ARGV[1] then return 0 end
redis.call('SET', emptying, ARGV[1], 'PX', ARGV[2])
return 1
