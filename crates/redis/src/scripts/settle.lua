-- Puts right what was counted: a batch of corrections, once, however often it is sent.
--
-- KEYS: where the last batch of the sender is noted, its asks of money; then a key for each correction.
-- ARGV: the number of the batch, the lease of a slot in ms, the number up to which the outcome of all asks is known; then four for each correction: what it is, and as it wants.
--   `T` a window of tokens: the mark, how many more.       `M` a money: how much more, its expiry as 8 bytes, the ms after which Redis may drop it (0: never).
--   `L` those at once: the slot that is free.              `K` those at once: the slot that is still taken.
--   `U` a money, if an ask was counted whose answer was lost: the number of the ask. What it drew, as `enter.lua` noted it, goes back.
-- Gives how many corrections could not be made, and why the last one could not.
local DAY = 86400000
local told, asks = KEYS[1], KEYS[2]
local batch, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
if tonumber(redis.call('HGET', told, 'batch') or 0) >= batch then
    return { 0, '' }
end
-- Before anything else: a server that takes nothing says so here, and a script that has written may go on writing.
redis.call('HSET', told, 'batch', ARGV[1], 'known', ARGV[3])
redis.call('PEXPIRE', told, DAY)
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)

local change = {}

function change.T(key, mark, more)
    local entry = redis.call('HGET', key, mark)
    if not entry then
        return
    end
    local at, weight = string.match(entry, '(%d+):(%d+)')
    -- Within what Lua counts exactly.
    local now = math.min(math.max(weight + more, 0), 9007199254740991)
    redis.call('HSET', key, mark, string.format('%s:%.0f', at, now))
    redis.call('HINCRBY', key, 'g' .. math.floor(mark / 64), string.format('%.0f', now - weight))
    local sum = tonumber(redis.call('HGET', key, 's')) + now - weight
    redis.call('HSET', key, 's', string.format('%.0f', sum))
end

function change.M(key, more, header, keep)
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
    -- What is given back was counted before. Where the server has lost that, nothing is left to give back.
    value = math.max(value + more, 0)
    local high = math.floor(value / 4294967296)
    local low = value - high * 4294967296
    local now = header .. struct.pack('>I4I4', high, low)
    if not record and tonumber(keep) > 0 then
        redis.call('SET', key, now, 'PX', keep)
    else
        redis.call('SET', key, now, 'KEEPTTL')
    end
end

function change.U(key, number)
    local note = redis.call('ZRANGEBYSCORE', asks, number, number)[1]
    if note and redis.call('EXISTS', key) == 1 then
        change.M(key, -tonumber(string.match(note, ':(%d+)$')))
    end
end

function change.L(key, slot)
    redis.call('ZREM', key, slot)
end

-- Also where it is not there any more: a server that was away for longer than the lease has forgotten who is still under way.
function change.K(key, slot)
    redis.call('ZADD', key, ms + lease, slot)
    redis.call('PEXPIRE', key, lease * 2)
end

local failed, why = 0, ''
for at = 3, #KEYS do
    local first = 4 + (at - 3) * 4
    local made, error = pcall(change[ARGV[first]], KEYS[at], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3])
    if not made then
        failed, why = failed + 1, type(error) == 'table' and error.err or tostring(error)
    end
end
redis.call('ZREMRANGEBYSCORE', asks, '-inf', ARGV[3])
return { failed, why }
