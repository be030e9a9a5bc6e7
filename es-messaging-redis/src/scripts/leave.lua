-- Removes a member that holds nothing, and others of its group that have been away for long and hold nothing.
-- KEYS: the streams. ARGV: group, consumer, how long the others were away in milliseconds.
-- Gives: how many were removed.
local count = 0
for _, key in ipairs(KEYS) do
    local members = redis.pcall('XINFO', 'CONSUMERS', key, ARGV[1])
    -- A stream or group that is not there shows itself when it is read.
    if members['err'] then
        members = {}
    end
    for _, info in ipairs(members) do
        local consumer = {}
        for field = 1, #info, 2 do
            consumer[info[field]] = info[field + 1]
        end
        -- Removing one that holds something would lose it.
        local is_done = consumer['name'] == ARGV[2] or consumer['idle'] > tonumber(ARGV[3])
        if is_done and consumer['pending'] == 0 then
            redis.call('XGROUP', 'DELCONSUMER', key, ARGV[1], consumer['name'])
            count = count + 1
        end
    end
end
return count
