-- Brings jobs from one pool's line into another's, as if they came now; those that stand there no more, or were just given
-- to a worker, are left where they are. ARGV: from where, whereto, how many there may be at least, how many milliseconds of
-- work they may be at most; and their arq ids. Returns how many moved.
local from, to, least, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local number, work = redis.call('ZCARD', LINE .. to), tonumber(redis.call('HGET', WORK, to) or 0)
local ids, entry_of, going = {unpack(ARGV, 5)}, {}, {}
for i, entry in ipairs(entries_of(ids)) do
    if number >= least and work >= most then break end
    local its_work, _, _, _, pool = string.match(entry or '', ENTRY)
    if pool == from and redis.call('EXISTS', 'arq:in-progress:' .. ids[i]) == 0 then
        going[#going + 1], entry_of[ids[i]] = ids[i], entry
        number, work = number + 1, work + its_work
    end
end
if #going == 0 then return 0 end
local moved = leave(going, 'PASSED')
left()
for _, id in ipairs(moved) do
    local its_work, account, share, head_start, _, need = string.match(entry_of[id], ENTRY)
    enter(id, account, share, head_start, its_work, to, need)
end
-- What was told of their starts was told of another line.
redis.call('HDEL', PROMISES, unpack(going))
entered()
return #moved
