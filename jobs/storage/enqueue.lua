-- Puts jobs in the order that workers follow: start-time fair queueing, see docs/decisions/0008. A job that is queued
-- already keeps its place. ARGV: life of a job key in ms, then per job its arq id, account ('' where it comes back),
-- share, head start, milliseconds of work, model, and arq's signal. Returns the places.

-- Virtual seconds. Far below every worker's clock in milliseconds, with which arq compares them, and over 0.
local BEGINNING = 1e9
-- Where jobs stand that have had their turn and come back: before all that have not.
local FRONT = 5e8
-- What tells jobs apart that come at the same moment. It also sees to it that new accounts, however many, do not keep
-- an old one waiting for ever.
local MOMENT = 1 / 1024

local function written(number) return string.format('%.17g', number) end

-- When nobody waits there is nothing to be fair about: nobody owes anything for having used idle workers.
if redis.call('EXISTS', LINE) == 0 then redis.call('DEL', CLOCK, ENDS, ENTRIES, PROMISES) end
local now = tonumber(redis.call('HGET', CLOCK, 'now') or BEGINNING)

local ends = {}

local function turn_of(account, share)
    if account == '' then return FRONT + redis.call('HINCRBY', CLOCK, 'back', 1) * MOMENT end
    local start = ends[account] or tonumber(redis.call('ZSCORE', ENDS, account) or 0)
    if start <= now then
        start = now
        now = now + MOMENT
    end
    ends[account] = start + share
    return start
end

local ids, seen, turns, entries, total, fresh = {}, {}, {}, {}, 0, 0
for i = 2, #ARGV, 7 do
    local id, account, share, head_start, work, model, signal = unpack(ARGV, i, i + 6)
    ids[#ids + 1] = id
    if not seen[id] and not redis.call('ZSCORE', LINE, id) then
        seen[id] = true
        redis.call('SET', 'arq:job:' .. id, signal, 'PX', ARGV[1])
        local start = turn_of(account, tonumber(share))
        if account ~= '' and start <= now then fresh = fresh + work end
        turns[#turns + 1] = written(start - tonumber(head_start))
        turns[#turns + 1] = id
        entries[#entries + 1] = id
        entries[#entries + 1] = work .. ':' .. account .. ':' .. share .. ':' .. model
        total = total + work
    end
end
-- All at once: each call from a script takes as long as ten of its lines.
if #turns > 0 then
    redis.call('ZADD', LINE, unpack(turns))
    redis.call('HSET', ENTRIES, unpack(entries))
    redis.call('HINCRBY', CLOCK, 'work', string.format('%d', total))
    redis.call('HSET', CLOCK, 'now', written(now))
    redis.call('INCRBY', FRESH, string.format('%d', fresh))
    for account, finish in pairs(ends) do redis.call('ZADD', ENDS, written(finish), account) end
end
-- One token wakes one idle worker. Tokens that no one takes are not kept: a poll finds the job.
for _ = 1, math.min(#turns / 2, 32) do redis.call('LPUSH', WAKE, '') end
redis.call('LTRIM', WAKE, 0, 31)
return places(ids)
