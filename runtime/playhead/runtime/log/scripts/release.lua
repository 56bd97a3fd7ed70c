-- Hands a run back: in line again, due now. Not a crash.
--
-- Keys: 1 run hash, 2 log stream, 3 leases
-- Arguments: 1 prefix, 2 run id, 3 token, 4 head expected, 5 signals acknowledged, 6 number of records, records
-- Answers: {code, head, signals waiting} as append
-- Invariant: after OK the former owner is fenced (its token is set aside, kept only to know a repeat as DUP).

local run, log, leases = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, token, expected = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local ack, count = tonumber(ARGV[5]), tonumber(ARGV[6])
local h = redis.call('HMGET', run, 'token', 'state', 'head', 'epoch', 'inbox', 'released')
if not h[1] then return {4, 0, 0} end
local head, waiting = tonumber(h[3]), tonumber(h[5])
if h[2] == 'queued' and h[6] == token and head == expected + count then return {1, head, waiting} end
if h[1] ~= token or h[2] ~= 'running' then return {3, head, waiting} end
if head ~= expected then return {2, head, waiting} end

local records, now = {}, now_ms()
for r = 1, count do records[r] = ARGV[6 + r] end
head = write(run, log, head, tonumber(h[4]), records)
if ack > 0 then
  redis.call('LTRIM', prefix .. 'inbox:' .. id, ack, -1)
  waiting = redis.call('HINCRBY', run, 'inbox', -ack)
end
redis.call('HINCRBY', run, 'handovers', 1)
redis.call('HSET', run, 'state', 'queued', 'token', '', 'released', token, 'worker', '', 'updated', now)
redis.call('ZREM', leases, id)
enqueue(prefix, id, now)
return {0, head, waiting}
