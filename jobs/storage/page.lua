-- A page of a pool's line, as its jobs came into it. ARGV: the pool, from which rank on, and how many. Returns arq ids
-- and entries, in turns.
local ids, page = redis.call('ZRANGE', LINE .. ARGV[1], ARGV[2], ARGV[2] + ARGV[3] - 1), {}
for i, entry in ipairs(entries_of(ids)) do
    page[#page + 1] = ids[i]
    page[#page + 1] = entry or ''
end
return page
