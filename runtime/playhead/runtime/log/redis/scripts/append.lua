-- Appends to several runs, each batch whole or not at all: the only way for records into a running run.
--
-- Keys: for each run 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 number of runs; then for each run: token, head expected, signals acknowledged, number of records, records
-- Answers: for each run three values: status (OK, DUP, CONFLICT, FENCED or GONE), head, signals waiting
-- Invariant: records are written only by the holder of the token, only while the run is running, and only directly
--   after the head; so a log has no hole and no second writer. DUP (the head is where this batch would have put it, and
--   the token is the owner's) is sound with one writer per token and one write in flight per run.

local answers, arg = {}, 2
for i = 1, tonumber(ARGV[1]) do
  local run, log, inbox = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local token, expected = ARGV[arg], tonumber(ARGV[arg + 1])
  local acknowledged, count = tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
  local status, head, waiting, epoch = fence(run, token, expected, count, 'running')
  if status == STATUS.OK then
    head = append_records(run, log, head, epoch, arguments(arg + 4, count))
    if head then
      waiting = acknowledge(run, inbox, acknowledged, waiting)
    else
      status, head = STATUS.GONE, 0
    end
  end
  answers[3 * i - 2], answers[3 * i - 1], answers[3 * i] = status, head, waiting
  arg = arg + 4 + count
end
return answers
