-- Remembers what was told of jobs' starts, for as long as they wait; or, where they have just started, beside those starts.
-- ARGV: the time in ms or '', then an arq id and what was told, in turns.
local now, ids, promises = time_of(ARGV[1]), {}, {}
for i = 2, #ARGV, 2 do
    ids[#ids + 1] = ARGV[i]
    promises[ARGV[i]] = string.format('%d ', now) .. ARGV[i + 1]
end
local waiting, gone = {}, {}
for i, entry in ipairs(entries_of(ids)) do
    if entry then
        waiting[#waiting + 1] = ids[i]
        waiting[#waiting + 1] = promises[ids[i]]
    else
        gone[#gone + 1] = ids[i]
    end
end
if #waiting > 0 then redis.call('HSET', PROMISES, unpack(waiting)) end
if #gone == 0 then return end
for _, moment in ipairs({now, now - TOLD_WITHIN_MS}) do
    for i, started in ipairs(redis.call('HMGET', started_in(moment), unpack(gone))) do
        if started then compare(promises[gone[i]], started) end
    end
    redis.call('HDEL', started_in(moment), unpack(gone))
end
