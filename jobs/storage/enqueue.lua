-- Queues jobs; one that is queued already, in whichever pool, keeps its place. ARGV: of each job its arq id, account (''
-- where it comes back), share, head start, milliseconds of work, pool and need, as texts in one JSON list of lists.
-- Returns the places.
local jobs, ids, pool_of_id, names, turns = cjson.decode(ARGV[1]), {}, {}, {}, {}
for i, job in ipairs(jobs) do ids[i] = job[1] end
for i, entry in ipairs(entries_of(ids)) do pool_of_id[ids[i]] = pool_in(entry) end
for i, id in ipairs(ids) do
    if not pool_of_id[id] then
        turns[id] = enter(unpack(jobs[i]))
        pool_of_id[id] = jobs[i][6]
    end
    names[i] = pool_of_id[id]
end
entered()
return places(ids, names, turns)
