-- How jobs leave the lines of their pools. What follows this in a script calls `leave` for each, and then `left`.

-- By pool, the work of those that wait no more.
local gone = {}

-- `why`: STARTED, or another word where their turn only passes. Gives false where it stood in no line.
local function leave(id, entry, why)
    local its_work, account, share, _, pool = string.match(entry, ENTRY)
    local line, clock, ends = LINE .. pool, CLOCK .. pool, ENDS .. pool
    local turn = redis.call('ZSCORE', line, id)
    redis.call('HDEL', ENTRIES, id)
    if not turn then return false end
    redis.call('ZREM', line, id)
    if why == 'STARTED' and tonumber(turn) > tonumber(redis.call('HGET', clock, 'now')) then
        redis.call('HSET', clock, 'now', turn)
        -- Who has nothing ahead of the clock stands like everybody else.
        redis.call('ZREMRANGEBYSCORE', ends, '-inf', turn)
    elseif why ~= 'STARTED' and account ~= '' and redis.call('ZSCORE', ends, account) then
        redis.call('ZINCRBY', ends, '-' .. share, account)
    end
    gone[pool] = (gone[pool] or 0) + its_work
    return true
end

local function left()
    for pool, its_work in pairs(gone) do
        if redis.call('EXISTS', LINE .. pool) == 1 then
            redis.call('HINCRBY', WORK, pool, string.format('%d', -its_work))
        else
            -- When nobody waits there is nothing to be fair about: nobody owes anything for having used idle workers.
            redis.call('DEL', CLOCK .. pool, ENDS .. pool, WAKE .. pool)
            redis.call('HDEL', WORK, pool)
        end
    end
end
