-- How jobs leave the lines of their pools. What follows this in a script calls `leave`, as often as it likes, and then
-- `left`.

-- By pool, the work of those that wait no more.
local gone = {}

-- The clock stands at the turn of the job that was started last. Who has nothing ahead of it stands like everybody else.
local function turn_to(pool, turn)
    if turn <= tonumber(redis.call('HGET', CLOCK .. pool, 'now')) then return end
    redis.call('HSET', CLOCK .. pool, 'now', written(turn))
    redis.call('ZREMRANGEBYSCORE', ENDS .. pool, '-inf', written(turn))
end

local function give_back(pool, account, share)
    local ends = ENDS .. pool
    if account ~= '' and redis.call('ZSCORE', ends, account) then redis.call('ZINCRBY', ends, '-' .. share, account) end
end

-- Of one pool's line. Of those that stand in it.
local function leave_line(pool, ids, entry_of, why)
    local turns, stood, last = redis.call('ZMSCORE', LINE .. pool, unpack(ids)), {}, 0
    redis.call('ZREM', LINE .. pool, unpack(ids))
    for i, id in ipairs(ids) do
        if turns[i] then
            local its_work, account, share = string.match(entry_of[id], ENTRY)
            if why ~= 'STARTED' then give_back(pool, account, share) end
            last = math.max(last, tonumber(turns[i]))
            gone[pool] = (gone[pool] or 0) + its_work
            stood[#stood + 1] = id
        end
    end
    if why == 'STARTED' and #stood > 0 then turn_to(pool, last) end
    return stood
end

-- `why`: STARTED, or another word where their turn only passes. Gives those that stood in a line, each once.
local function leave(ids, why)
    local of_pool, entry_of, all = {}, {}, {}
    for i, entry in ipairs(entries_of(ids)) do
        local pool = entry and select(5, string.match(entry, ENTRY))
        if pool and not entry_of[ids[i]] then
            of_pool[pool] = of_pool[pool] or {}
            table.insert(of_pool[pool], ids[i])
            entry_of[ids[i]] = entry
        end
    end
    redis.call('HDEL', ENTRIES, unpack(ids))
    for pool, its in pairs(of_pool) do
        for _, id in ipairs(leave_line(pool, its, entry_of, why)) do all[#all + 1] = id end
    end
    return all
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
