-- Says that a worker lives and what it serves, and removes the workers whose announcement is older than its ttl.
--
-- Keys: 1 worker description, 2 workers index, 3.. the workers of each queue that only a framework's workers claim from
-- Arguments: 1 worker, 2 ttl in ms, 3 description, 4 '1' if the worker drains, else ''
-- Answers: 1
-- Invariant: a worker in the index with a score above the present time has announced itself within its ttl. So has one
--   among the workers of a queue, and it does not drain.

local worker, workers = KEYS[1], KEYS[2]
local name, ttl, description, now = ARGV[1], ARGV[2], ARGV[3], now_ms()
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now) -- first: a server short of memory refuses only a first write that adds
redis.call('SET', worker, description, 'PX', ttl)
redis.call('ZADD', workers, now + ttl, name)
for i = 3, #KEYS do
  local serving = KEYS[i]
  if ARGV[4] == '1' then
    redis.call('ZREM', serving, name)
  else
    redis.call('ZREMRANGEBYSCORE', serving, '-inf', now)
    redis.call('ZADD', serving, now + ttl, name)
    redis.call('PEXPIRE', serving, ttl)
  end
end
return 1
