-- Takes a job out of the line. ARGV: its arq id, the time in ms, and why: STARTED, CANCELED, or another word where
-- its turn only passes.
local id, time, why = unpack(ARGV)
-- How many starts of about one length of wait are remembered beside what was told of them.
local LAST = 150
local turn = redis.call('ZSCORE', LINE, id)
if not turn then return 0 end
local entry = redis.call('HGET', ENTRIES, id) or '0::0:'
local work, account, share = string.match(entry, '(%d+):(%d*):([^:]*)')
redis.call('ZREM', LINE, id)
redis.call('HDEL', ENTRIES, id)
local promise = redis.call('HGET', PROMISES, id)
if promise then
    redis.call('HDEL', PROMISES, id)
    if why == 'STARTED' then
        local accepted, length, told = string.match(promise, '(%d+) (%d+) (.*)')
        redis.call('LPUSH', WAITS .. length, told .. ' ' .. math.max(time - accepted, 0) / 1000)
        redis.call('LTRIM', WAITS .. length, 0, LAST - 1)
    end
end
redis.call('HINCRBY', CLOCK, 'work', string.format('%d', -tonumber(work)))
if why == 'STARTED' and tonumber(turn) > tonumber(redis.call('HGET', CLOCK, 'now')) then
    redis.call('HSET', CLOCK, 'now', turn)
    -- Who has nothing ahead of the clock stands like everybody else.
    redis.call('ZREMRANGEBYSCORE', ENDS, '-inf', turn)
elseif why ~= 'STARTED' and account ~= '' and redis.call('ZSCORE', ENDS, account) then
    redis.call('ZINCRBY', ENDS, '-' .. share, account)
end
return 1
