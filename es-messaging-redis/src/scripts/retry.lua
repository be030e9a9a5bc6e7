-- Lets entries come again after a delay each. They stay unsettled, and belong to nobody meanwhile.
-- KEYS: the delayed entries (sorted set), then a stream for each entry.
-- ARGV: group, consumer, then for each entry: id, delay in milliseconds.
-- Gives: how many.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local group, consumer, count = ARGV[1], ARGV[2], 0
for number = 2, #KEYS do
    local key, id, delay = KEYS[number], ARGV[number * 2 - 1], tonumber(ARGV[number * 2])
    -- Somebody else may have it by now.
    if redis.call('XPENDING', key, group, id, id, 1, consumer)[1] then
        redis.call('XCLAIM', key, group, 'delayed', 0, id, 'JUSTID')
        -- What is due at the same time stays in order.
        redis.call('ZADD', KEYS[1], string.format('%.3f', now + delay + number / 1000), id .. ' ' .. key)
        count = count + 1
    end
end
return count
