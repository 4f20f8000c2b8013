-- Puts jobs in the order that the workers of their pools follow: start-time fair queueing, see docs/decisions/0008. A job
-- that is queued already, in whichever pool, keeps its place. ARGV: life of a job key in ms, then per job its arq id,
-- account ('' where it comes back), share, head start, milliseconds of work, pool, need, and arq's signal. Returns the
-- places.

-- Virtual seconds. Far below every worker's clock in milliseconds, with which arq compares them, and over 0.
local BEGINNING = 1e9
-- Where jobs stand that have had their turn and come back: before all that have not.
local FRONT = 5e8
-- What tells jobs apart that come at the same moment. It also sees to it that new accounts, however many, do not keep
-- an old one waiting for ever.
local MOMENT = 1 / 1024

local function written(number) return string.format('%.17g', number) end

local pools = {}

local function pool_of(name)
    if pools[name] then return pools[name] end
    local pool = {line = LINE .. name, clock = CLOCK .. name, ends = ENDS .. name}
    pool.now = tonumber(redis.call('HGET', pool.clock, 'now') or BEGINNING)
    pool.new_ends, pool.turns, pool.work, pool.fresh = {}, {}, 0, 0
    pools[name] = pool
    return pool
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

local ids, entries, seen = {}, {}, {}
for i = 2, #ARGV, 8 do ids[#ids + 1] = ARGV[i] end
for i, entry in ipairs(entries_of(ids)) do seen[ids[i]] = entry end
for i = 2, #ARGV, 8 do
    local id, account, share, head_start, work, name, need, signal = unpack(ARGV, i, i + 7)
    if not seen[id] then
        seen[id] = true
        redis.call('SET', 'arq:job:' .. id, signal, 'PX', ARGV[1])
        local pool = pool_of(name)
        local start = turn_of(pool, account, tonumber(share))
        if account ~= '' and start <= pool.now then pool.fresh = pool.fresh + work end
        pool.work = pool.work + work
        pool.turns[#pool.turns + 1] = written(start - tonumber(head_start))
        pool.turns[#pool.turns + 1] = id
        entries[#entries + 1] = id
        entries[#entries + 1] = table.concat({work, account, share, head_start, name, need}, ':')
    end
end

if #entries > 0 then redis.call('HSET', ENTRIES, unpack(entries)) end
for name, pool in pairs(pools) do
    redis.call('ZADD', pool.line, unpack(pool.turns))
    redis.call('HINCRBY', WORK, name, string.format('%d', pool.work))
    redis.call('HSET', pool.clock, 'now', written(pool.now))
    redis.call('HINCRBY', FRESH, name, string.format('%d', pool.fresh))
    for account, finish in pairs(pool.new_ends) do redis.call('ZADD', pool.ends, written(finish), account) end
    -- One token wakes one idle worker. Tokens that no one takes are not kept: a poll finds the job.
    for _ = 1, math.min(#pool.turns / 2, 32) do redis.call('LPUSH', WAKE .. name, '') end
    redis.call('LTRIM', WAKE .. name, 0, 31)
end
return places(ids)
