-- Takes jobs out of their lines. ARGV: the time in ms or '', why: STARTED, CANCELED, or another word where their turn only
-- passes; and their arq ids.
local time, why, ids = time_of(ARGV[1]), ARGV[2], {unpack(ARGV, 3)}

-- First attempts of which nothing was told: what is told of a start follows its job's acceptance at once, but it may
-- come after it.
local function remember(started)
    if #started == 0 then return end
    redis.call('HSET', started_in(time), unpack(started))
    redis.call('PEXPIRE', started_in(time), 2 * TOLD_WITHIN_MS)
end

local function keep_promises(stood)
    local kept, started = {}, {}
    for i, promise in ipairs(redis.call('HMGET', PROMISES, unpack(stood))) do
        if promise then
            kept[#kept + 1] = stood[i]
            if why == 'STARTED' then compare(promise, time) end
        elseif why == 'STARTED' and string.match(stood[i], ':1$') then
            started[#started + 1] = stood[i]
            started[#started + 1] = string.format('%d', time)
        end
    end
    if #kept > 0 then redis.call('HDEL', PROMISES, unpack(kept)) end
    remember(started)
end

local names = {}
for _, id in ipairs(ids) do
    names[#names + 1] = 'arq:in-progress:' .. id
    names[#names + 1] = 'arq:job:' .. id  -- of former releases, which kept arq's signal of each
end
redis.call('DEL', unpack(names))
local stood = leave(ids, why)
if #stood > 0 then keep_promises(stood) end
left()
return 1
