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

-- By pool, of those that wait no more.
local work = {}

local function leave(id, entry)
    local its_work, account, share, _, pool = string.match(entry, ENTRY)
    local line, clock, ends = LINE .. pool, CLOCK .. pool, ENDS .. pool
    local turn = redis.call('ZSCORE', line, id)
    redis.call('HDEL', ENTRIES, id)
    if not turn then return end
    redis.call('ZREM', line, id)
    keep_promise(id)
    if why == 'STARTED' and tonumber(turn) > tonumber(redis.call('HGET', clock, 'now')) then
        redis.call('HSET', clock, 'now', turn)
        -- Who has nothing ahead of the clock stands like everybody else.
        redis.call('ZREMRANGEBYSCORE', ends, '-inf', turn)
    elseif why ~= 'STARTED' and account ~= '' and redis.call('ZSCORE', ends, account) then
        redis.call('ZINCRBY', ends, '-' .. share, account)
    end
    work[pool] = (work[pool] or 0) + its_work
end

local ids = {unpack(ARGV, 3)}
for i, entry in ipairs(entries_of(ids)) do
    redis.call('DEL', 'arq:job:' .. ids[i], 'arq:in-progress:' .. ids[i])
    if entry then leave(ids[i], entry) end
end
for pool, its_work in pairs(work) do
    if redis.call('EXISTS', LINE .. pool) == 1 then
        redis.call('HINCRBY', WORK, pool, string.format('%d', -its_work))
    else
        -- When nobody waits there is nothing to be fair about: nobody owes anything for having used idle workers.
        redis.call('DEL', CLOCK .. pool, ENDS .. pool)
        redis.call('HDEL', WORK, pool)
    end
end
return 1
