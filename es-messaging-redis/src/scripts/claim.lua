-- Gives a member the entries of a group that are due again: those whose delay is over, and those that nobody has settled in time.
-- KEYS: the delayed entries (sorted set: when due in milliseconds, "id key"), then the streams.
-- ARGV: group, consumer, time for unsettled entries in milliseconds, most entries.
-- Gives: {stream's number from 1, id, delivery count, fields} of each.
local group, consumer, idle, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local numbers = {}
for number = 2, #KEYS do
    numbers[KEYS[number]] = number - 1
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local given = {}

local function give(key, id, before)
    local claimed = redis.call('XCLAIM', key, group, consumer, 0, id)
    -- One that was trimmed is not there any more.
    if claimed[1] then
        given[#given + 1] = {numbers[key], claimed[1][1], before + 1, claimed[1][2]}
    end
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, most)) do
    local id, key = string.match(member, '^(%S+) (.*)$')
    if numbers[key] then
        redis.call('ZREM', KEYS[1], member)
        local pending = redis.call('XPENDING', key, group, id, id, 1)
        if pending[1] then
            give(key, id, pending[1][4])
        end
    end
end

local function less(one, other)
    local one_time, one_number = string.match(one[1], '(%d+)-(%d+)')
    local other_time, other_number = string.match(other[1], '(%d+)-(%d+)')
    if one_time ~= other_time then
        return tonumber(one_time) < tonumber(other_time)
    end
    return tonumber(one_number) < tonumber(other_number)
end

for number = 2, #KEYS do
    local key = KEYS[number]
    if #given >= most then
        break
    end
    -- Member by member: those that wait for their time, which may be many, belong to nobody, and hide no others.
    local late = {}
    for _, member in ipairs(redis.call('XPENDING', key, group)[4] or {}) do
        if member[1] ~= 'delayed' then
            for _, pending in ipairs(redis.call('XPENDING', key, group, 'IDLE', idle, '-', '+', most, member[1])) do
                late[#late + 1] = pending
            end
        end
    end
    table.sort(late, less)
    for _, pending in ipairs(late) do
        if #given >= most then
            break
        end
        give(key, pending[1], pending[4])
    end
end
return given
