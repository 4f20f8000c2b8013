-- Where jobs stand. What follows this in a script has the keys and the functions that are named here.
-- KEYS: the line (sorted set), its clock (hash), the accounts' ends (sorted set), the jobs' entries (hash), wake-ups,
-- what was told of starts (hash), how they came (the beginning of a list's name for each length of wait), the work
-- that came to stand at the front.
--
-- The clock holds `now`, the turn of the job that was started last; `back`, how many jobs have come back; `work`, the
-- milliseconds that all that wait should take. An account's end is when its next job's turn comes. An entry is
-- milliseconds:account:share:model, with no account where the job has come back.
local LINE, CLOCK, ENDS, ENTRIES, WAKE, PROMISES, WAITS, FRESH = unpack(KEYS)
-- The work before these is summed up; all behind them are taken to be alike.
local SUMMED = 64

local function milliseconds(entry) return entry and tonumber(string.match(entry, '^%d+')) or 0 end

-- Of each id its rank from 0, the milliseconds of work before it, and those that its turn is after the clock, or thrice
-- false; then the length.
local function places(ids)
    local length = redis.call('ZCARD', LINE)
    local first, before = redis.call('ZRANGE', LINE, 0, SUMMED - 1), {[0] = 0}
    if #first > 0 then
        local entries = redis.call('HMGET', ENTRIES, unpack(first))
        for i = 1, #first do before[i] = before[i - 1] + milliseconds(entries[i]) end
    end
    local rest = tonumber(redis.call('HGET', CLOCK, 'work') or 0) - before[#first]
    local each = length > #first and math.max(rest, 0) / (length - #first) or 0
    local now, answer = tonumber(redis.call('HGET', CLOCK, 'now') or 0), {}
    for _, id in ipairs(ids) do
        local rank = redis.call('ZRANK', LINE, id)
        answer[#answer + 1] = rank
        answer[#answer + 1] = rank and (before[rank] or before[#first] + (rank - #first) * each)
        answer[#answer + 1] = rank and math.max(redis.call('ZSCORE', LINE, id) - now, 0) * 1000
    end
    answer[#answer + 1] = length
    return answer
end
