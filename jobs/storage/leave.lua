-- Takes jobs out of their lines. ARGV: the time in ms or '', why: STARTED, CANCELED, or another word where their turn only
-- passes; and their arq ids.
local time, why = time_of(ARGV[1]), ARGV[2]
-- What is told of a start follows its job's acceptance so soon.
local TOLD_WITHIN_MS = 5000

local function keep_promise(id)
    local promise = redis.call('HGET', PROMISES, id)
    if promise then
        redis.call('HDEL', PROMISES, id)
        if why == 'STARTED' then compare(promise, time) end
    elseif why == 'STARTED' and string.match(id, ':1$') then
        redis.call('SET', started_key(id), string.format('%d', time), 'PX', TOLD_WITHIN_MS)
    end
end

local ids = {unpack(ARGV, 3)}
for i, entry in ipairs(entries_of(ids)) do
    redis.call('DEL', 'arq:job:' .. ids[i], 'arq:in-progress:' .. ids[i])
    if entry and leave(ids[i], entry, why) then keep_promise(ids[i]) end
end
left()
return 1
