-- Gives a member more time for entries that are still its own.
-- KEYS: a stream for each entry. ARGV: group, consumer, then the id of each entry.
-- Gives: how many.
local group, consumer, count = ARGV[1], ARGV[2], 0
for number, key in ipairs(KEYS) do
    local id = ARGV[number + 2]
    if redis.call('XPENDING', key, group, id, id, 1, consumer)[1] then
        redis.call('XCLAIM', key, group, consumer, 0, id, 'JUSTID')
        count = count + 1
    end
end
return count
