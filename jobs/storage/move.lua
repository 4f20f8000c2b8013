-- Brings jobs from one pool's line into another's, as if they came now; those that stand there no more, or were just given
-- to a worker, are left where they are. ARGV: from where, whereto, how many there may be at least, how many milliseconds of
-- work they may be at most; and their arq ids. Returns how many moved.
local from, to, least, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local number, work = redis.call('ZCARD', LINE .. to), tonumber(redis.call('HGET', WORK, to) or 0)
local ids, moved = {unpack(ARGV, 5)}, 0
for i, entry in ipairs(entries_of(ids)) do
    if number >= least and work >= most then break end
    local its_work, account, share, head_start, pool, need = string.match(entry or '', ENTRY)
    if pool == from and redis.call('EXISTS', 'arq:in-progress:' .. ids[i]) == 0 and leave(ids[i], entry, 'PASSED') then
        -- What was told of its start was told of another line.
        redis.call('HDEL', PROMISES, ids[i])
        enter(ids[i], account, share, head_start, its_work, to, need)
        number, work, moved = number + 1, work + its_work, moved + 1
    end
end
left()
entered()
return moved
