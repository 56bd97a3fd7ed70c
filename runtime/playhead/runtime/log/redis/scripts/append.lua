-- Appends to several runs, each batch whole or not at all: the fence and the heart of the log.
--
-- Keys: for each run 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 number of runs; then for each run: token, head expected, signals acknowledged, number of records, records
-- Answers: for each run three numbers: code (0 OK, 1 DUP, 2 CONFLICT, 3 FENCED, 4 GONE), head, signals waiting
-- Invariant: records are written only by the holder of the token, only while the run is running, and only directly
--   behind the head; so a log has no hole and no second writer. DUP (the head is where this batch would have put it, and
--   the token is ours) is sound with one writer per token and one write in flight per run.

local answers, arg = {}, 2
for i = 1, tonumber(ARGV[1]) do
  local run, log, inbox = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local token, expected = ARGV[arg], tonumber(ARGV[arg + 1])
  local ack, count = tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
  local h = redis.call('HMGET', run, 'token', 'state', 'head', 'epoch', 'inbox')
  local head, waiting, code = tonumber(h[3] or 0), tonumber(h[5] or 0), 2
  if not h[1] then
    code = 4
  elseif h[1] ~= token or h[2] ~= 'running' then
    code = 3
  elseif head == expected then
    local records = {}
    for r = 1, count do records[r] = ARGV[arg + 3 + r] end
    head = append_records(run, log, head, tonumber(h[4]), records)
    if ack > 0 then
      redis.call('LTRIM', inbox, ack, -1)
      -- A failover may have lost a signal that the owner has read.
      waiting = redis.call('HINCRBY', run, 'inbox', -math.min(ack, waiting))
    end
    code = 0
  elseif head == expected + count then
    code = 1
  end
  answers[3 * i - 2], answers[3 * i - 1], answers[3 * i] = code, head, waiting
  arg = arg + 4 + count
end
return answers
