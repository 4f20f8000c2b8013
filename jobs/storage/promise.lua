-- Remembers what was told of a job's start, for as long as it waits. ARGV: an arq id and what was told, in turns.
for i = 1, #ARGV, 2 do
    if redis.call('HEXISTS', ENTRIES, ARGV[i]) == 1 then redis.call('HSET', PROMISES, ARGV[i], ARGV[i + 1]) end
end
