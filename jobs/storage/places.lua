-- Where jobs stand. What follows this in a script has the keys and the functions that are named here.
-- KEYS: the beginnings of the names of each pool's line (sorted set), clock (hash), accounts' ends (sorted set) and
-- wake-ups; the entries of all that wait (hash), what was told of starts (hash), how they came (the beginning of a list's
-- name for each length of wait); and by pool the work that came to stand at the front, and all that waits (hashes).
--
-- A clock holds `now`, the turn of the job that was started last, and `back`, how many jobs have come back. An account's
-- end is when its next job's turn comes. Work is in milliseconds. An entry is
-- work:account:share:head start:pool:models|stages, with no account where the job has come back.
local LINE, CLOCK, ENDS, WAKE, ENTRIES, PROMISES, WAITS, FRESH, WORK = unpack(KEYS)
local ENTRY = '^(%d+):(%d*):([^:]*):([^:]*):([^:]*):(.*)'
-- How many starts of about one length of wait are remembered beside what was told of them.
local LAST = 150
-- The work before these is summed up; all behind them are taken to be alike.
local SUMMED = 64

-- Milliseconds since 1970: those that were given or, for '', by the one clock that all machines share.
local function time_of(given)
    if given ~= '' then return tonumber(given) end
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- For so long, and at most twice that, a start is known that came before what is told of it.
local TOLD_WITHIN_MS = 5000

-- Where those are known that started at about this time: a hash of a name for each such span.
local function started_in(time) return 'darkroom:started:' .. math.floor(time / TOLD_WITHIN_MS) end

local function written(number) return string.format('%.17g', number) end

-- A start that came, beside what was told of it.
local function compare(promise, started)
    local accepted, length, told = string.match(promise, '(%d+) (%d+) (.*)')
    redis.call('LPUSH', WAITS .. length, told .. ' ' .. math.max(started - accepted, 0) / 1000)
    redis.call('LTRIM', WAITS .. length, 0, LAST - 1)
end

local function milliseconds(entry) return entry and tonumber(string.match(entry, '^%d+')) or 0 end

-- Of many at once: each call from a script takes as long as ten of its lines.
local function entries_of(ids) return #ids > 0 and redis.call('HMGET', ENTRIES, unpack(ids)) or {} end

-- What all places in one line have in common.
local function standing_in(pool)
    local line = LINE .. pool
    local length, first, before = redis.call('ZCARD', line), redis.call('ZRANGE', line, 0, SUMMED - 1), {[0] = 0}
    for i, entry in ipairs(entries_of(first)) do before[i] = before[i - 1] + milliseconds(entry) end
    local rest = tonumber(redis.call('HGET', WORK, pool) or 0) - before[#first]
    local each = length > #first and math.max(rest, 0) / (length - #first) or 0
    local now = tonumber(redis.call('HGET', CLOCK .. pool, 'now') or 0)
    return {line = line, length = length, first = #first, before = before, each = each, now = now}
end

local function pool_in(entry) return entry and select(5, string.match(entry, ENTRY)) end

-- Of each id its pool, its rank from 0, the length, the milliseconds of work before it, and those that its turn is after
-- the clock; or false, five times. `pools` are theirs, and `turns` where those are known.
local function places(ids, pools, turns)
    local standing, answer = {}, {}
    for i, id in ipairs(ids) do
        local pool = pools[i]
        if pool and not standing[pool] then standing[pool] = standing_in(pool) end
        local its = pool and standing[pool]
        local rank = its and redis.call('ZRANK', its.line, id)
        local turn = rank and (turns[id] or redis.call('ZSCORE', its.line, id))
        local at = #answer
        answer[at + 1] = rank and pool
        answer[at + 2] = rank
        answer[at + 3] = rank and its.length
        answer[at + 4] = rank and (its.before[rank] or its.before[its.first] + (rank - its.first) * its.each)
        answer[at + 5] = rank and math.max(turn - its.now, 0) * 1000
    end
    return answer
end
