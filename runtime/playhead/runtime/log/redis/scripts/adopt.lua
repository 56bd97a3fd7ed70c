-- Gives a lease to running runs that have none, because another program removed it: without one no reaper finds a run.
--
-- Keys: 1 leases, 2.. one run hash per run
-- Arguments: the runs' ids
-- Answers: the ids of the runs that got a lease
-- Invariant: every running run has a lease. It is long enough for a living owner to renew it.

local GRACE_MS = 5000 -- an owner renews three times per lease, which is 10 s by default

local leases, now, adopted = KEYS[1], now_ms(), {}
for i, id in ipairs(ARGV) do
  local run = KEYS[i + 1]
  if redis.call('HGET', run, 'state') == 'running' and not redis.call('ZSCORE', leases, id) then
    redis.call('ZADD', leases, now + GRACE_MS, id)
    adopted[#adopted + 1] = id
  end
end
return adopted
