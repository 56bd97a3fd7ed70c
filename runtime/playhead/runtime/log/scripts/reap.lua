-- Deals with expired leases, oldest first: the run goes back in line, or past the crash limit it is failed.
--
-- Keys: 1 leases
-- Arguments: 1 prefix, 2 how many at most, 3 crash limit, 4 retention in ms, 5 encoded run.failed record
-- Answers: the ids of the runs dealt with
-- Invariant: a dead owner is fenced before anybody else can claim its run; a run that takes every owner down with it
--   ends. Any worker or client may call this, at any time, at once.

local leases = KEYS[1]
local prefix, limit, crash_limit, retention = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now, dealt_with = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. now, 'LIMIT', 0, limit)) do
  local run = prefix .. 'run:' .. id
  local h = redis.call('HMGET', run, 'state', 'head', 'epoch')
  redis.call('ZREM', leases, id)
  if h[1] == 'running' then
    local crashes = redis.call('HINCRBY', run, 'crashes', 1)
    if crashes > crash_limit then
      write(run, prefix .. 'log:' .. id, tonumber(h[2]), tonumber(h[3]), {ARGV[5]})
      redis.call('HSET', run, 'token', '')
      retire(prefix, id, 'failed', retention, now)
    else
      redis.call('HSET', run, 'state', 'queued', 'token', '', 'worker', '', 'updated', now)
      enqueue(prefix, id, now)
    end
    dealt_with[#dealt_with + 1] = id
  end
end
return dealt_with
