-- Takes jobs out of their lines. ARGV: the time in ms, why: STARTED, CANCELED, or another word where their turn only
-- passes; and their arq ids.
local time, why = ARGV[1], ARGV[2]
-- How many starts of about one length of wait are remembered beside what was told of them.
local LAST = 150

local function keep_promise(id)
    local promise = redis.call('HGET', PROMISES, id)
    if not promise then return end
    redis.call('HDEL', PROMISES, id)
    if why == 'STARTED' then
        local accepted, length, told = string.match(promise, '(%d+) (%d+) (.*)')
        redis.call('LPUSH', WAITS .. length, told .. ' ' .. math.max(time - accepted, 0) / 1000)
        redis.call('LTRIM', WAITS .. length, 0, LAST - 1)
    end
end

local ids = {unpack(ARGV, 3)}
for i, entry in ipairs(entries_of(ids)) do
    redis.call('DEL', 'arq:job:' .. ids[i], 'arq:in-progress:' .. ids[i])
    if entry and leave(ids[i], entry, why) then keep_promise(ids[i]) end
end
left()
return 1
