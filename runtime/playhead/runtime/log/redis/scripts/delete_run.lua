-- Deletes a run that has ended, as the end of its retention does, and its entries in the indexes.
--
-- Keys: 1 run hash, 2 log stream, 3 inbox
-- Arguments: 1 prefix, 2 run id
-- Answers: the state that the run had: a terminal one, and then it is gone; another one, and nothing was changed; nil if
--   there is no such run
-- Invariant: a run that has not ended is never deleted. The messages of its session and the definitions that it names stay
--   for as long as other runs need them: they have a TTL of their own.

local run, log, inbox = KEYS[1], KEYS[2], KEYS[3]
local prefix, id = ARGV[1], ARGV[2]
local h = redis.call('HMGET', run, 'state', 'agent', 'session', 'tags')
local state = h[1]
if not state then return false end
if not ended(state) then return state end
local names = index_names(h[2], state, h[3] or '', h[4] or '')
redis.call('DEL', run)
redis.call('DEL', log)
redis.call('DEL', inbox)
remove_from_indexes(prefix, id, names)
redis.call('ZREM', prefix .. 'expiring', names .. '\n\n' .. id)
return state
