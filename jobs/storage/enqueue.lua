-- Queues jobs; one that is queued already, in whichever pool, keeps its place. ARGV: life of a job key in ms, then per job
-- its arq id, account ('' where it comes back), share, head start, milliseconds of work, pool, need, and arq's signal.
-- Returns the places.
local ids, seen = {}, {}
for i = 2, #ARGV, 8 do ids[#ids + 1] = ARGV[i] end
for i, entry in ipairs(entries_of(ids)) do seen[ids[i]] = entry end
for i = 2, #ARGV, 8 do
    local id = ARGV[i]
    if not seen[id] then
        seen[id] = true
        redis.call('SET', 'arq:job:' .. id, ARGV[i + 7], 'PX', ARGV[1])
        enter(unpack(ARGV, i, i + 6))
    end
end
entered()
return places(ids)
