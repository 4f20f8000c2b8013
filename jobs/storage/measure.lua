-- Adds a job's duration to the last ones of its kind. KEYS: the spreads of all kinds (hash), the last durations of this
-- one (list). ARGV: the kind, the duration. A spread is written as mean, p50 and p90.
local LAST = 100
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], 0, LAST - 1)
local durations, sum = redis.call('LRANGE', KEYS[2], 0, -1), 0
for i = 1, #durations do
    durations[i] = tonumber(durations[i])
    sum = sum + durations[i]
end
table.sort(durations)
local function quantile(share) return durations[math.min(math.ceil((#durations + 1) * share), #durations)] end
local spread = string.format('%.6g %.6g %.6g', sum / #durations, quantile(0.5), quantile(0.9))
redis.call('HSET', KEYS[1], ARGV[1], spread)
