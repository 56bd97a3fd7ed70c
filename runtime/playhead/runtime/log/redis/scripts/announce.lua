-- Says that a worker lives and what it serves, and removes the workers whose announcement is older than its ttl.
--
-- Keys: 1 worker description, 2 workers index
-- Arguments: 1 worker, 2 ttl in ms, 3 description
-- Answers: 1
-- Invariant: a worker in the index with a score above the present time has announced itself within its ttl.

local worker, workers = KEYS[1], KEYS[2]
local name, ttl, description, now = ARGV[1], ARGV[2], ARGV[3], now_ms()
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now) -- first: a server short of memory refuses only a first write that adds
redis.call('SET', worker, description, 'PX', ttl)
redis.call('ZADD', workers, now + ttl, name)
return 1
