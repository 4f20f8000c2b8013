-- ARGV: arq ids. Returns their places.
local pools = {}
for i, entry in ipairs(entries_of(ARGV)) do pools[i] = pool_in(entry) end
return places(ARGV, pools, {})
