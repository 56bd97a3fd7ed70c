-- Says that a worker lives and what it serves, and forgets the workers that said nothing for long.
--
-- Keys: 1 worker description, 2 workers index
-- Arguments: 1 worker, 2 ttl in ms, 3 description
-- Answers: 1
-- Invariant: a worker in the index with a score above the present time has announced itself within its ttl.

local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now) -- first: a server short of memory refuses only a first write that adds
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
return 1
