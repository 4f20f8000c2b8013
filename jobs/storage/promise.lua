-- Remembers what was told of a job's start, for as long as it waits; or, where it has just started, beside that start.
-- ARGV: the time in ms or '', then an arq id and what was told, in turns.
local time = string.format('%d ', time_of(ARGV[1]))
for i = 2, #ARGV, 2 do
    local id, promise = ARGV[i], time .. ARGV[i + 1]
    if redis.call('HEXISTS', ENTRIES, id) == 1 then
        redis.call('HSET', PROMISES, id, promise)
    else
        local started = redis.call('GETDEL', started_key(id))
        if started then compare(promise, started) end
    end
end
