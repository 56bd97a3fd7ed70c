-- Deals with passed deadlines and expired leases, the oldest first: a run past its deadline is failed; one whose owner
-- is silent is queued again, and a crash is counted. A framework's queue without a worker is merged into its agent's.
--
-- Keys: 1 leases, 2 deadlines
-- Arguments: 1 prefix, 2 how many at most, 3 encoded run.failed record past the deadline
-- Answers: the ids of the runs with a passed deadline or an expired lease
-- Invariant: a dead owner is fenced before another worker can claim its run; a run past its deadline ends, whatever its
--   state, and its owner is fenced. A run past its crash limit is failed by its next owner, because only the log tells
--   what it did. No run waits for a framework that no live worker has. Limits and retention are fields of the run, so any
--   worker or client may call this, at any time, several at once.

local leases, deadlines = KEYS[1], KEYS[2]
local prefix, limit = ARGV[1], tonumber(ARGV[2])
local now, dealt_with = now_ms(), {}

local function fail(id, h, record)
  append_end(prefix, id, h[2], h[3], {record})
  redis.call('HSET', prefix .. 'run:' .. id, 'token', '')
  end_run(prefix, id, 'failed', tonumber(h[4]), now)
end

local function state_of(id)
  return redis.call('HMGET', prefix .. 'run:' .. id, 'state', 'head', 'epoch', 'retention_ms')
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', '(' .. now, 'LIMIT', 0, limit)) do
  local h = state_of(id)
  redis.call('ZREM', deadlines, id)
  if h[1] and not ended(h[1]) then
    fail(id, h, ARGV[3])
    dealt_with[#dealt_with + 1] = id
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. now, 'LIMIT', 0, limit - #dealt_with)) do
  local h = state_of(id)
  redis.call('ZREM', leases, id)
  if h[1] == 'running' then
    take_from_owner(prefix, id, now, '')
    dealt_with[#dealt_with + 1] = id
  end
end
-- Moves the runs of a queue to that of its agent, where they have the same positions.
local function merge(ready, all, agent)
  local waiting = redis.call('ZRANGE', ready, 0, -1, 'WITHSCORES')
  for w = 1, #waiting, 2 do
    redis.call('ZADD', all, waiting[w + 1], waiting[w])
    notify(prefix .. 'notify_agent:' .. agent, waiting[w])
  end
  redis.call('DEL', ready)
end

for _, queue in ipairs(redis.call('ZRANGE', prefix .. 'queues', 0, -1)) do
  if not has_worker(prefix, queue) then
    local agent = queue:match('^[^:]*')
    merge(prefix .. 'ready:' .. queue, prefix .. 'ready:' .. agent, agent)
    merge(prefix .. 'suspects:' .. queue, prefix .. 'suspects:' .. agent, agent)
  end
  local waiting = redis.call('EXISTS', prefix .. 'ready:' .. queue) + redis.call('EXISTS', prefix .. 'suspects:' .. queue)
  if waiting == 0 then redis.call('ZREM', prefix .. 'queues', queue) end
end
return dealt_with
