-- How jobs come into the lines of their pools: start-time fair queueing, see docs/decisions/0008. What follows this in a
-- script calls `enter` for each that stands in no line, and then `entered`.

-- Virtual seconds. Far below every worker's clock in milliseconds, with which arq compares them, and over 0.
local BEGINNING = 1e9
-- Where jobs stand that have had their turn and come back: before all that have not.
local FRONT = 5e8
-- What tells jobs apart that come at the same moment. It also sees to it that new accounts, however many, do not keep
-- an old one waiting for ever.
local MOMENT = 1 / 1024

local pools, entries = {}, {}

local function pool_of(name)
    if not pools[name] then
        local clock = CLOCK .. name
        pools[name] = {
            clock = clock, ends = ENDS .. name, new_ends = {}, turns = {}, work = 0, fresh = 0,
            now = tonumber(redis.call('HGET', clock, 'now') or BEGINNING),
        }
    end
    return pools[name]
end

local function turn_of(pool, account, share)
    if account == '' then return FRONT + redis.call('HINCRBY', pool.clock, 'back', 1) * MOMENT end
    local start = pool.new_ends[account] or tonumber(redis.call('ZSCORE', pool.ends, account) or 0)
    if start <= pool.now then
        start = pool.now
        pool.now = pool.now + MOMENT
    end
    pool.new_ends[account] = start + share
    return start
end

-- Gives its turn.
local function enter(id, account, share, head_start, work, name, need)
    local pool = pool_of(name)
    local start = turn_of(pool, account, tonumber(share))
    if account ~= '' and start <= pool.now then pool.fresh = pool.fresh + work end
    pool.work = pool.work + work
    local turn = start - tonumber(head_start)
    pool.turns[#pool.turns + 1] = written(turn)
    pool.turns[#pool.turns + 1] = id
    entries[#entries + 1] = id
    entries[#entries + 1] = work .. ':' .. account .. ':' .. share .. ':' .. head_start .. ':' .. name .. ':' .. need
    return turn
end

local function entered()
    if #entries > 0 then redis.call('HSET', ENTRIES, unpack(entries)) end
    for name, pool in pairs(pools) do
        redis.call('ZADD', LINE .. name, unpack(pool.turns))
        redis.call('HINCRBY', WORK, name, string.format('%d', pool.work))
        redis.call('HSET', pool.clock, 'now', written(pool.now))
        redis.call('HINCRBY', FRESH, name, string.format('%d', pool.fresh))
        for account, finish in pairs(pool.new_ends) do redis.call('ZADD', pool.ends, written(finish), account) end
        -- One token wakes one idle worker. Tokens that no one takes are not kept: a poll finds the job.
        local tokens = {}
        for i = 1, math.min(#pool.turns / 2, 32) do tokens[i] = '' end
        redis.call('LPUSH', WAKE .. name, unpack(tokens))
        redis.call('LTRIM', WAKE .. name, 0, 31)
    end
end
