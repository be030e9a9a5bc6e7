-- Puts an entry among the dead letters of a group, and settles it.
-- KEYS: the stream, the stream of dead letters. ARGV: group, id, topic, reason, attempts.
-- Gives: 1, or 0 if it was settled already.
if not redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1] then
    return 0
end
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
local fields = {}
if found[1] then
    fields = found[1][2]
end
local said = {'dead_topic', ARGV[3], 'dead_id', ARGV[2], 'dead_reason', ARGV[4], 'dead_attempts', ARGV[5]}
for _, value in ipairs(said) do
    fields[#fields + 1] = value
end
-- This may fail, and what a script has done before is not undone: so the entry is settled only now.
redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
