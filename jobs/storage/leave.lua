-- Takes jobs out of the line. ARGV: the time in ms, why: STARTED, CANCELED, or another word where their turn only
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

-- Returns the work that waits no more.
local function leave(id)
    redis.call('DEL', 'arq:job:' .. id, 'arq:in-progress:' .. id)
    local turn = redis.call('ZSCORE', LINE, id)
    if not turn then return 0 end
    local work, account, share = string.match(redis.call('HGET', ENTRIES, id) or '0::0:', '(%d+):(%d*):([^:]*)')
    redis.call('ZREM', LINE, id)
    redis.call('HDEL', ENTRIES, id)
    keep_promise(id)
    if why == 'STARTED' and tonumber(turn) > tonumber(redis.call('HGET', CLOCK, 'now')) then
        redis.call('HSET', CLOCK, 'now', turn)
        -- Who has nothing ahead of the clock stands like everybody else.
        redis.call('ZREMRANGEBYSCORE', ENDS, '-inf', turn)
    elseif why ~= 'STARTED' and account ~= '' and redis.call('ZSCORE', ENDS, account) then
        redis.call('ZINCRBY', ENDS, '-' .. share, account)
    end
    return tonumber(work)
end

local work = 0
for i = 3, #ARGV do work = work + leave(ARGV[i]) end
if work > 0 then redis.call('HINCRBY', CLOCK, 'work', string.format('%d', -work)) end
return 1
