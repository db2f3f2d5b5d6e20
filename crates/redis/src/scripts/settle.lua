-- Puts right what was counted: a batch of corrections, once, however often it is sent.
--
-- KEYS: where the last batch of the sender is noted, the index of money, then a key for each correction.
-- ARGV: the number of the batch, the lease of a slot in ms; then five for each correction: what it is, and as it wants.
--   `T` a window of tokens: the mark, how many more.       `M` a money: how much more, its expiry as 8 bytes, the ms after which Redis may drop it, its key in the index.
--   `L` those at once: the slot that is free.              `K` those at once: the slot that is still taken.
local batch, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
if tonumber(redis.call('GET', KEYS[1]) or 0) >= batch then
    return 0
end
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)

local change = {}

function change.T(key, mark, more)
    local entry = redis.call('HGET', key, mark)
    if not entry then
        return
    end
    local at, weight = string.match(entry, '(%d+):(%d+)')
    local now = math.max(weight + more, 0)
    redis.call('HSET', key, mark, string.format('%s:%.0f', at, now))
    local sum = tonumber(redis.call('HGET', key, 's')) + now - weight
    redis.call('HSET', key, 's', string.format('%.0f', sum))
end

function change.M(key, more, header, keep, member)
    local record = redis.call('GET', key)
    local value = 0
    if record and #record == 16 then
        local high, low
        header, high, low = string.sub(record, 1, 8), struct.unpack('>I4I4', string.sub(record, 9))
        if high >= 2147483648 then
            high = high - 4294967296
        end
        value = high * 4294967296 + low
    elseif record then
        return
    end
    value = value + more
    local high = math.floor(value / 4294967296)
    local low = value - high * 4294967296
    if high < 0 then
        high = high + 4294967296
    end
    redis.call('SET', key, header .. struct.pack('>I4I4', high, low), 'KEEPTTL')
    if not record then
        redis.call('ZADD', KEYS[2], 0, member)
        if tonumber(keep) > 0 then
            redis.call('PEXPIRE', key, keep)
        end
    end
end

function change.L(key, slot)
    redis.call('ZREM', key, slot)
end

function change.K(key, slot)
    redis.call('ZADD', key, 'XX', ms + lease, slot)
    redis.call('PEXPIRE', key, lease * 2)
end

for at = 3, #KEYS do
    local first = 3 + (at - 3) * 5
    change[ARGV[first]](KEYS[at], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3], ARGV[first + 4])
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', 86400000)
return #KEYS - 2
