-- Gives a worker the first of the line that nobody else was just given: one, and more as long as all are short, but
-- never more than half of what waits: others may be idle.
-- What was picked is forgotten as such after a while; until then its worker has claimed it and taken it out of the line.
-- KEYS[9]: who is paused (set). ARGV: the worker, how many at most, the milliseconds of work from which on no more are
-- added, how long a pick lasts in ms. Returns 0 where the worker is paused, else the arq ids.

-- Where all of these were just given to others, they are coming to it right now. They are looked at in batches.
local FIRST, BATCH = 256, 32

local worker, most, enough, lasts = unpack(ARGV)
for _, is_member in ipairs(redis.call('SMISMEMBER', KEYS[9], '*', worker)) do
    if is_member == 1 then return 0 end
end
most = math.min(tonumber(most), math.ceil(redis.call('ZCARD', LINE) / 2))
local picked, work, from = {}, 0, 0
while from < FIRST do
    local ids = redis.call('ZRANGE', LINE, from, from + BATCH - 1)
    if #ids == 0 then break end
    local entries = redis.call('HMGET', ENTRIES, unpack(ids))
    for i, id in ipairs(ids) do
        if redis.call('SET', 'arq:in-progress:' .. id, '1', 'PX', lasts, 'NX') then
            picked[#picked + 1] = id
            work = work + milliseconds(entries[i])
            if work >= tonumber(enough) or #picked == most then return picked end
        end
    end
    from = from + #ids
end
return picked
