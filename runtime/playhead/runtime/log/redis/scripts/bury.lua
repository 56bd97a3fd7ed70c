-- Takes all runs from a worker whose process has ended, without waiting for its leases, and notes how it ended.
--
-- Keys: 1 leases
-- Arguments: 1 prefix, 2 worker, 3 how its process ended
-- Answers: the ids of the runs, in the order in which they are queued again
-- Invariant: as for an expired lease. Only the program that started the process may call this, after it has ended. It
--   looks at every lease, so it takes a millisecond for about a thousand runs; a process seldom dies.

local leases, prefix, worker, now, taken = KEYS[1], ARGV[1], ARGV[2], now_ms(), {}
local held = redis.call('ZRANGE', leases, 0, -1)
table.sort(held)
for _, id in ipairs(held) do
  local h = redis.call('HMGET', prefix .. 'run:' .. id, 'state', 'worker')
  if h[1] == 'running' and h[2] == worker then
    take_from_owner(prefix, id, now, ARGV[3])
    taken[#taken + 1] = id
  end
end
return taken
