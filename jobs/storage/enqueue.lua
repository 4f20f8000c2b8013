-- Queues jobs; one that is queued already, in whichever pool, keeps its place. ARGV: of each job its arq id, account (''
-- where it comes back), share, head start, milliseconds of work, pool and need, as texts in one JSON list of lists.
-- Returns the places.
local jobs, ids, seen = cjson.decode(ARGV[1]), {}, {}
for i, job in ipairs(jobs) do ids[i] = job[1] end
for i, entry in ipairs(entries_of(ids)) do seen[ids[i]] = entry end
for i, id in ipairs(ids) do
    if not seen[id] then
        seen[id] = true
        enter(unpack(jobs[i]))
    end
end
entered()
return places(ids)
