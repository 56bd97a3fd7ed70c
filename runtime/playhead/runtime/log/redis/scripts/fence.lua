-- The fence, which decides first in every script that writes for an owner. This file is put between common.lua and the rest
-- of each script when it is loaded. Not a script by itself.
--
-- Keys: the run hash, which the calling script names.
-- Arguments: none; those of the function are below.
-- Answers: one of STATUS, the head, and the number of signals that wait.
-- Invariant: an owner's records are stored only after `fence` has returned OK, so a run never has two writers.

-- Whether the holder of `token` may write `count` records directly after `expected`. `next_state` is the state in which the
-- write leaves the run, 'released' for release and pause: by it a repeat of a write that was stored is recognised. Returns status, head, signals waiting, and after OK the epoch; nothing is written after another status.
local function fence(run, token, expected, count, next_state)
  local h = redis.call('HMGET', run, 'token', 'state', 'head', 'epoch', 'inbox')
  if not h[1] then return STATUS.GONE, 0, 0 end
  local head, waiting, owned = tonumber(h[3]), tonumber(h[5]), is_owner(token, h[1], h[2])
  if owned and head == expected then return STATUS.OK, head, waiting, tonumber(h[4]) end
  local writer, written = h[2] == next_state and h[1], head
  if next_state == 'released' then
    local released = redis.call('HMGET', run, 'released_token', 'released_head')
    writer, written = released[1], tonumber(released[2])
  end
  -- A run that `reap` ended has the token '', which is not a writer's.
  if writer == token and token ~= '' and written == expected + count then return STATUS.DUP, head, waiting end
  return owned and STATUS.CONFLICT or STATUS.FENCED, head, waiting
end
