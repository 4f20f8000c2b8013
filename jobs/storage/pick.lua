-- Gives a worker the first of its pool's line that nobody else was just given: one, and more as long as all are short,
-- but never more than half of what waits: others may be idle. A job counts as if its turn came later, by so much as the
-- worker puts it off for those whose models it has loaded.
-- What was picked is forgotten as such after a while; until then its worker has claimed it and taken it out of the line.
-- KEYS[10]: who is paused (set). ARGV: the worker, its pool, how many at most, the milliseconds of work from which on no
-- more are added, how long a pick lasts in ms, how far jobs whose first model is not named here are put off, then models
-- and how far in turns: 0 where one is loaded. Returns 0 where the worker or its pool is paused, else the arq ids.

-- Where all of these were just given to others, they are coming to it right now. They are looked at in batches.
local FIRST, BATCH = 256, 32

local worker, pool, most, enough, lasts, otherwise =
    ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local line = LINE .. pool
for _, is_member in ipairs(redis.call('SMISMEMBER', KEYS[10], '*', 'pool:' .. pool, worker)) do
    if is_member == 1 then return 0 end
end
most = math.min(most, math.ceil(redis.call('ZCARD', line) / 2))
local put_off, known = {}, {}
for i = 7, #ARGV, 2 do put_off[ARGV[i]] = tonumber(ARGV[i + 1]) end

-- For all of its models. Of what is attached to the first nothing is expected until it was measured.
local function later(models)
    local sum, unknown = 0, otherwise
    for model in string.gmatch(models, '%S+') do
        sum = sum + (put_off[model] or unknown)
        unknown = 0
    end
    return sum
end

local function goes_first(a, b) return a.turn < b.turn or a.turn == b.turn and a.place < b.place end

-- A batch of the line, as this worker should take it.
local function suited(from)
    local found, ids, jobs = redis.call('ZRANGE', line, from, from + BATCH - 1, 'WITHSCORES'), {}, {}
    for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
    for i, entry in ipairs(entries_of(ids)) do
        local models = entry and string.match(select(6, string.match(entry, ENTRY)), '^[^|]*') or ''
        known[models] = known[models] or later(models)
        jobs[i] = {id = ids[i], place = i, work = milliseconds(entry), later = known[models], turn = found[2 * i] + known[models]}
    end
    table.sort(jobs, goes_first)
    return jobs
end

local picked, work, from = {}, 0, 0
while from < FIRST do
    local jobs = suited(from)
    if #jobs == 0 then break end
    for _, job in ipairs(jobs) do
        -- Short ones do not wait for one that must be loaded first.
        if #picked > 0 and job.later > 0 then return picked end
        if redis.call('SET', 'arq:in-progress:' .. job.id, '1', 'PX', lasts, 'NX') then
            picked[#picked + 1] = job.id
            work = work + job.work
            if work >= enough or job.later > 0 or #picked == most then return picked end
        end
    end
    from = from + #jobs
end
return picked
