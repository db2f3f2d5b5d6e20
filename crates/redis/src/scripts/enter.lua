-- Counts a request at all accounts, or at none.
--
-- KEYS: the index of money, then for each account its windows of requests and tokens, its set of those at once, and the record of each money.
-- ARGV: the slot's name, its lease in ms, the number of accounts; then for each account the most requests, the tokens, the most tokens, the most at once (-1: not limited), the
-- number of moneys, and for each money its cap, the amount, its expiry as 8 bytes, the ms after which Redis may drop it, and its key in the index.
-- Gives: 0 or 1 (full), the full account from 0, what is full (0 requests, 1 tokens, 2 at once, 3 + place money), the wait in ms (-1: none helps); then for each account the mark of
-- its tokens, what remains of requests and ms until all do, the same of tokens, and what is drawn of each money.
--
-- A window is a hash: entries `tick:weight` under numbers from `h` to before `t`, their sum `s`, the last tick `l`. A tick is 10 ms, and what passed counts for 6001 ticks: a minute,
-- and the tick at whose end it may have passed. So no sixty seconds hold more than the limit, wherever they begin.
local SPAN = 6001
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local slot, lease, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local key, arg = 1, 3

local function next_key()
    key = key + 1
    return KEYS[key]
end
local function next_arg()
    arg = arg + 1
    return ARGV[arg]
end

local function entry(window, number)
    local at, weight = string.match(redis.call('HGET', window.key, number), '(%d+):(%d+)')
    return tonumber(at), tonumber(weight)
end

-- Opens a window and forgets what counts no more.
local function open(name)
    local found = redis.call('HMGET', name, 'h', 't', 's', 'l')
    -- A window begins at the number of its tick, of which each makes one entry at most: so no number comes again when a window was forgotten meanwhile, and no late correction finds another's entry.
    local begin = math.floor(ms / 10)
    local w = { key = name, head = tonumber(found[1] or begin), tail = tonumber(found[2] or begin), sum = tonumber(found[3] or 0) }
    w.last = tonumber(found[4] or 0)
    w.now = math.max(math.floor(ms / 10), w.last)
    local before = w.head
    while w.head < w.tail do
        local at, weight = entry(w, w.head)
        if at + SPAN > w.now then
            break
        end
        w.sum = w.sum - weight
        redis.call('HDEL', name, w.head)
        w.head = w.head + 1
    end
    if w.head > before then
        redis.call('HSET', name, 'h', w.head, 's', string.format('%.0f', w.sum))
    end
    return w
end

local function until_tick(at)
    return math.max((at + SPAN) * 10 - ms, 1)
end

-- The wait until as much counts no more.
local function wait(w, excess)
    local gone, number = 0, w.head
    while number < w.tail do
        local at, weight = entry(w, number)
        gone = gone + weight
        if gone >= excess then
            return until_tick(at)
        end
        number = number + 1
    end
    return 0
end

local function add(w, weight)
    local number = w.tail - 1
    if w.tail > w.head and w.last == w.now then
        local _, there = entry(w, number)
        redis.call('HSET', w.key, number, string.format('%.0f:%.0f', w.now, there + weight))
    else
        number = w.tail
        w.tail = w.tail + 1
        redis.call('HSET', w.key, number, string.format('%.0f:%.0f', w.now, weight))
    end
    w.sum, w.last = w.sum + weight, w.now
    redis.call('HSET', w.key, 'h', w.head, 't', w.tail, 's', string.format('%.0f', w.sum), 'l', w.now)
    redis.call('PEXPIRE', w.key, SPAN * 10 + 1000)
    return number
end

-- A counter's record: its expiry and the value, 8 bytes each with the highest first.
local function counter(name)
    local record = redis.call('GET', name)
    if not record then
        return 0, false
    end
    if #record ~= 16 then
        return nil
    end
    local over, under, high, low = struct.unpack('>I4I4I4I4', record)
    local expires = over * 4294967296 + under
    if expires ~= 0 and expires <= ms then
        return 0, false
    end
    if high >= 2147483648 then
        high = high - 4294967296
    end
    return high * 4294967296 + low, true, string.sub(record, 1, 8)
end

local refused
local function refuse(at, what, how_long)
    refused = refused or { 1, at, what, how_long }
end

local accounts = {}
for at = 0, count - 1 do
    local a = { requests_key = next_key(), tokens_key = next_key(), running = next_key(), money = {} }
    a.most_requests, a.weight, a.most_tokens = tonumber(next_arg()), tonumber(next_arg()), tonumber(next_arg())
    a.at_once = tonumber(next_arg())
    if a.at_once >= 0 then
        redis.call('ZREMRANGEBYSCORE', a.running, '-inf', ms)
        if redis.call('ZCARD', a.running) >= a.at_once then
            refuse(at, 2, 1000)
        end
    end
    if a.most_requests >= 0 then
        a.requests = open(a.requests_key)
        if a.most_requests < 1 then
            refuse(at, 0, -1)
        elseif a.requests.sum + 1 > a.most_requests then
            refuse(at, 0, wait(a.requests, a.requests.sum + 1 - a.most_requests))
        end
    end
    if a.most_tokens >= 0 then
        a.tokens = open(a.tokens_key)
        if a.weight > a.most_tokens then
            refuse(at, 1, -1)
        elseif a.tokens.sum + a.weight > a.most_tokens then
            refuse(at, 1, wait(a.tokens, a.tokens.sum + a.weight - a.most_tokens))
        end
    end
    local moneys = tonumber(next_arg())
    for place = 0, moneys - 1 do
        local m = { key = next_key(), cap = tonumber(next_arg()), amount = tonumber(next_arg()), header = next_arg() }
        m.keep, m.member = tonumber(next_arg()), next_arg()
        m.drawn, m.there, m.stamp = counter(m.key)
        if not m.drawn then
            return redis.error_reply('LLMR the record of ' .. m.key .. ' is not a counter')
        end
        if m.amount > math.max(m.cap - math.max(m.drawn, 0), 0) then
            refuse(at, 3 + place, -1)
        end
        a.money[#a.money + 1] = m
    end
    accounts[#accounts + 1] = a
end

local reply = refused or { 0, 0, 0, 0 }
local function say(w, most)
    reply[#reply + 1] = w and math.max(most - w.sum, 0) or 0
    reply[#reply + 1] = w and w.sum > 0 and until_tick(w.last) or 0
end
for _, a in ipairs(accounts) do
    local mark = 0
    if not refused then
        if a.requests then
            add(a.requests, 1)
        end
        if a.tokens then
            mark = add(a.tokens, a.weight)
        end
        if a.at_once >= 0 then
            redis.call('ZADD', a.running, ms + lease, slot)
            redis.call('PEXPIRE', a.running, lease * 2)
        end
        for _, m in ipairs(a.money) do
            if m.amount > 0 then
                m.drawn = m.drawn + m.amount
                local high = math.floor(m.drawn / 4294967296)
                local low = m.drawn - high * 4294967296
                if high < 0 then
                    high = high + 4294967296
                end
                redis.call('SET', m.key, (m.stamp or m.header) .. struct.pack('>I4I4', high, low), 'KEEPTTL')
                if not m.there then
                    redis.call('ZADD', KEYS[1], 0, m.member)
                    if m.keep > 0 then
                        redis.call('PEXPIRE', m.key, m.keep)
                    end
                end
            end
        end
    end
    reply[#reply + 1] = mark
    say(a.requests, a.most_requests)
    say(a.tokens, a.most_tokens)
    for _, m in ipairs(a.money) do
        reply[#reply + 1] = math.max(m.drawn, 0)
    end
end
return reply
