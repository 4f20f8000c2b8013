-- Puts jobs in the order that workers follow, and says where each one stands.
-- KEYS: the queue (sorted set), the list of wake-ups. ARGV: life of a job key in ms, then arq id, score, job per job.
-- A job that is queued already keeps its place. Returns the ranks from 0, then the length.
local queued = 0
for i = 2, #ARGV, 3 do
    redis.call('SET', 'arq:job:' .. ARGV[i], ARGV[i + 2], 'PX', ARGV[1])
    queued = queued + redis.call('ZADD', KEYS[1], 'NX', ARGV[i + 1], ARGV[i])
end
local answer = {}
for i = 2, #ARGV, 3 do
    answer[#answer + 1] = redis.call('ZRANK', KEYS[1], ARGV[i])
end
answer[#answer + 1] = redis.call('ZCARD', KEYS[1])
-- One token wakes one idle worker. Tokens that no one takes are not kept: a poll finds the job.
for _ = 1, math.min(queued, 32) do redis.call('LPUSH', KEYS[2], '') end
redis.call('LTRIM', KEYS[2], 0, 31)
return answer
