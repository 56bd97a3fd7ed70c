-- Gives one worker the ownership of the run that is first among the queues named, or of one run that is named.
--
-- Keys: 1 leases, 2 memo of this token, 3.. one ready set per queue, then, if suspects may be claimed too, one set of
--   suspects per queue, in the same order
-- Arguments: 1 prefix, 2 token, 3 lease in ms, 4 worker, 5 crash limit, 6 the only run to claim, or '',
--   7.. per queue: an encoded run.claimed record,
--   the digest of the definition that it names or '', that definition or '' if it should be stored, the retention in ms
--   for an end without an owner, the framework with which the worker runs the run or ''
-- Answers: nil no run is queued; else {run id, epoch, head, agent, session, crashes, signals waiting, crash
--   streak, idle owners, how the process of the last owner ended}; a digest: this definition is not stored, nothing was
--   changed, and the same call with the definition will succeed
-- Invariant: the epoch goes up by one with every ownership and the token is fresh, so the former owner is fenced from
--   here on. The memo makes a claim sent twice one claim, whose lease counts from the last call. A run whose log refuses
--   the record, because another program wrote to its key or deleted it, is failed: else it would block the queue for all.
--   A definition exists as long as a run that names it, see run_states.lua: it is here before this claim or written by it.
--   A run's framework is that of the first claim which has one.

local leases, memo = KEYS[1], KEYS[2]
local prefix, token, lease, worker = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local only, queues = ARGV[6], (#ARGV - 6) / 5

local function answer(id)
  local h = redis.call('HMGET', prefix .. 'run:' .. id, 'epoch', 'head', 'agent', 'session', 'crashes', 'inbox',
    'crash_streak', 'idle_owners', 'crash_end')
  return {id, h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]}
end

-- The run names the definition from here on, and so keeps it.
local function name_definition(run, digests, digest, data)
  if digest == '' or digests:find(digest, 1, true) then return end
  local definition = prefix .. 'definition:' .. digest
  if data ~= '' then redis.call('HSET', definition, 'definition', data) end
  redis.call('HINCRBY', definition, 'live', 1)
  redis.call('PERSIST', definition)
  redis.call('HSET', run, 'definitions', digests == '' and digest or digests .. ' ' .. digest)
end

local claimed = redis.call('GET', memo)
if claimed then
  local h = redis.call('HMGET', prefix .. 'run:' .. claimed, 'token', 'state')
  if not is_owner(token, h[1], h[2]) then return false end
  redis.call('ZADD', leases, now_ms() + lease, claimed)
  return answer(claimed)
end

-- The run of a queue that is next, and its position: the first that is due, or the one that is named, if it is due.
local function next_of(ready, last)
  if only == '' then return redis.call('ZRANGEBYSCORE', ready, '-inf', last, 'WITHSCORES', 'LIMIT', 0, 1) end
  local position = redis.call('ZSCORE', ready, only)
  return position and tonumber(position) <= tonumber(last) and {only, position} or {}
end

local now, last = now_ms(), string.format('%.0f', queue_now(prefix))
while true do
  local id, position, ready, record, digest, data, retention, framework
  for i = 3, #KEYS do
    local first = next_of(KEYS[i], last)
    if first[1] and (not position or tonumber(first[2]) < position) then
      id, position, ready = first[1], tonumber(first[2]), KEYS[i]
      local at = 7 + 5 * ((i - 3) % queues)
      record, digest, data, retention, framework = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    end
  end
  if not id then return false end
  local run = prefix .. 'run:' .. id
  local h = redis.call('HMGET', run, 'state', 'epoch', 'head', 'retention_ms', 'definitions', 'framework')
  if h[1] ~= 'queued' then -- the run ended or vanished while it was queued
    redis.call('ZREM', ready, id)
  elseif digest ~= '' and data == '' and redis.call('EXISTS', prefix .. 'definition:' .. digest) == 0 then
    return digest
  else
    local epoch, log = tonumber(h[2]) + 1, prefix .. 'log:' .. id
    -- The first write of all: after a refusal for want of memory the run must still be queued.
    local stored = redis.pcall('XADD', log, 'NOMKSTREAM', string.format('%.0f-%.0f', h[3] + 1, epoch), 'r', record)
    local refusal = type(stored) == 'table' and stored.err
    if refusal and not (refusal:find('equal or smaller') or refusal:find('WRONGTYPE')) then return stored end
    redis.call('ZREM', ready, id)
    if refusal or not stored then
      end_run(prefix, id, 'failed', tonumber(h[4]), now)
    else
      redis.call('HSET', run, 'state', 'running', 'epoch', epoch, 'token', token, 'worker', worker, 'updated', now,
        'crash_limit', ARGV[5], 'retention_ms', retention, 'lease_ms', ARGV[3], 'due', '')
      if framework ~= '' and not h[6] then redis.call('HSET', run, 'framework', framework) end
      pcall(name_definition, run, h[5] or '', digest, data) -- refused if another program wrote to its key: the run goes on
      advance_head(run, log, tonumber(h[3]), epoch, {record})
      move_to_state(prefix, id, 'queued', 'running')
      redis.call('ZADD', leases, now + lease, id)
      redis.call('SET', memo, id, 'PX', math.max(lease, 60000))
      return answer(id)
    end
  end
end
