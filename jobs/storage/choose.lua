-- The first of the line as one worker should take them: a job counts as if its turn came later, by so much as the worker
-- puts it off for the sake of its model. ARGV: among how many it chooses, how far it puts off jobs of models that are not
-- named here, then models and how far in turns: 0 where one is loaded.
local first = redis.call('ZRANGE', LINE, 0, tonumber(ARGV[1]) - 1, 'WITHSCORES')
local seconds, ids, turns = {}, {}, {}
for i = 3, #ARGV, 2 do seconds[ARGV[i]] = tonumber(ARGV[i + 1]) end
for i = 1, #first, 2 do
    ids[#ids + 1] = first[i]
    turns[first[i]] = tonumber(first[i + 1])
end
if #ids == 0 then return ids end
local entries = redis.call('HMGET', ENTRIES, unpack(ids))
for i, id in ipairs(ids) do
    local model = entries[i] and string.match(entries[i], '^%d+:%d*:[^:]*:(.*)')
    turns[id] = turns[id] + (model and (seconds[model] or tonumber(ARGV[2])) or 0)
end
-- Where two stand alike the order of the line decides: Lua's sort would not keep it.
local place = {}
for i, id in ipairs(ids) do place[id] = i end
table.sort(ids, function(a, b) return turns[a] < turns[b] or turns[a] == turns[b] and place[a] < place[b] end)
return ids
