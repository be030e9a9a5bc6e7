-- Removes from a stream what every group has settled.
-- KEYS: the stream. Gives: how many entries were removed.
local function less(one, other)
    local one_time, one_number = string.match(one, '(%d+)-(%d+)')
    local other_time, other_number = string.match(other, '(%d+)-(%d+)')
    one_time, other_time = tonumber(one_time), tonumber(other_time)
    if one_time ~= other_time then
        return one_time < other_time
    end
    return tonumber(one_number) < tonumber(other_number)
end

local first = nil
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = {}
    for field = 1, #info, 2 do
        group[info[field]] = info[field + 1]
    end
    -- The first that it has not settled, or the last that it has.
    local needed = group['last-delivered-id']
    if group['pending'] > 0 then
        local pending = redis.call('XPENDING', KEYS[1], group['name'])[2]
        if less(pending, needed) then
            needed = pending
        end
    end
    if not first or less(needed, first) then
        first = needed
    end
end
-- Without a group nobody has had anything.
if not first then
    return 0
end
return redis.call('XTRIM', KEYS[1], 'MINID', first)
