-- Adds durations to the last ones of their kinds. KEYS: the spreads of all kinds (hash), the beginning of the name of
-- each kind's last durations (list). ARGV: kinds and durations, in turns. A spread is written as mean, p50 and p90.
local LAST = 100

local function spread(durations)
    local sum = 0
    for i = 1, #durations do
        durations[i] = tonumber(durations[i])
        sum = sum + durations[i]
    end
    table.sort(durations)
    local function quantile(share) return durations[math.min(math.ceil((#durations + 1) * share), #durations)] end
    return string.format('%.6g %.6g %.6g', sum / #durations, quantile(0.5), quantile(0.9))
end

local new = {}
for i = 1, #ARGV, 2 do
    local kind = ARGV[i]
    new[kind] = new[kind] or {}
    table.insert(new[kind], ARGV[i + 1])
end
for kind, durations in pairs(new) do
    local list = KEYS[2] .. kind
    redis.call('LPUSH', list, unpack(durations, math.max(#durations - LAST, 0) + 1))
    redis.call('LTRIM', list, 0, LAST - 1)
    redis.call('HSET', KEYS[1], kind, spread(redis.call('LRANGE', list, 0, -1)))
end
