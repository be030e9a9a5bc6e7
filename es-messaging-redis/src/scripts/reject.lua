-- Puts an entry among the dead letters of a group, and settles it.
-- KEYS: the stream, the stream of dead letters. ARGV: group, id, topic, reason, attempts.
-- Gives: 1, or 0 if it was settled already.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then
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
redis.call('XADD', KEYS[2], '*', unpack(fields))
return 1
