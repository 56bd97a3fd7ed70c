-- Functions that all scripts share; this file and fence.lua are put before each of them when it is loaded. Not a script by
-- itself.
--
-- Before this file goes one line: PUBLISH, the name of the command that publishes. It is `SPUBLISH` on a server that says
--   (`HELLO`) that it is a node of a cluster, of version 7 or later, so that the other nodes do not carry the messages;
--   else `PUBLISH`. Subscribers ask the server in the same way, and so use the command that matches.
-- Keys: those that the calling script names.
-- Arguments: none.
-- Answers: none. A write answers one of STATUS.
-- Invariant: each record is published once, as it is stored.

-- What a write came to: `WriteStatus` in values.py has the same names and numbers, and says what each means.
local STATUS = {OK = 0, DUP = 1, CONFLICT = 2, FENCED = 3, GONE = 4, WAITING = 5}

-- Refuses the call if the user may not make one of these commands on the first key. Every script begins with it: a refusal
-- after its first write would leave half of a change. Redis 6 cannot be asked; there the check at the start must do.
local function check_rights(commands)
  local allowed, key = redis.acl_check_cmd, KEYS[1]
  if not allowed then return end
  for _, command in ipairs(commands) do
    if not allowed(command, key) then
      error({err = 'NOPERM the user has no right to ' .. command .. ' ' .. key .. ', which this call needs; nothing was changed'})
    end
  end
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- `count` arguments from ARGV[from] on.
local function arguments(from, count)
  local some = {}
  for i = 1, count do some[i] = ARGV[from + i - 1] end
  return some
end

-- Whether the bytes of an entry of a session are a message. Else they are the marker of a reduction of its history, which
-- people do not count: its first key, after the one byte of the map, is `context_reduced`; context.py says the same.
local function is_message(data)
  return data:sub(2, 17) ~= '\175context_reduced'
end

local function is_owner(token, run_token, state)
  return token == run_token and state == 'running'
end

-- Sets the head after records were stored, and publishes them as one batch:
-- "<first seq>-<epoch> <number of records>\n" and the records, one after the other.
local function advance_head(run, log, head, epoch, records)
  redis.call('HSET', run, 'head', string.format('%d', head + #records))
  -- Not `call`: a user without rights to the channel must not break a script off in the middle of its writes.
  redis.pcall(PUBLISH, log, string.format('%d-%d %d\n', head + 1, epoch, #records) .. table.concat(records))
end

-- Appends records after `head`. Returns the new head; nil if the log has been deleted, and then nothing was written.
local function append_records(run, log, head, epoch, records)
  if #records == 0 then return head end
  local call, format = redis.call, string.format -- `%d`: formatting a float takes a tenth of the call
  local first = 1
  if head > 0 then -- a log that another program deleted must not begin again in its middle
    if not call('XADD', log, 'NOMKSTREAM', format('%d-%d', head + 1, epoch), 'r', records[1]) then return nil end
    first = 2
  end
  for i = first, #records do call('XADD', log, format('%d-%d', head + i, epoch), 'r', records[i]) end
  advance_head(run, log, head, epoch, records)
  return head + #records
end

-- Drops the signals that the owner has taken in, the oldest `count`. Returns how many are left.
local function acknowledge(run, inbox, count, waiting)
  if count == 0 then return waiting end
  redis.call('LTRIM', inbox, count, -1)
  -- `waiting` may be less: a failover may have lost a signal that the owner has read.
  return redis.call('HINCRBY', run, 'inbox', -math.min(count, waiting))
end
