-- Counts a request at all accounts, or at none.
--
-- KEYS: where the asker's last batch of corrections is noted, its asks of money; then for each account its windows of requests and tokens, its set of those at
-- once, and the record of each money.
-- ARGV: the slot's name, the number of the ask, the lease of a slot in ms, the number of accounts, the number of amounts, and each amount, less than the one before; then for each
-- account the most requests, the tokens, the most tokens, the most at once (-1: not limited), the number of moneys, and for each money its cap, its expiry as 8 bytes, and the ms after
-- which Redis may drop it (0: never).
-- Gives: the server's time in ms; 0 (counted), the amount that was drawn of each money, and twice 0; or 1 (full), the full account from 0, what is full (0 requests, 1 tokens, 2 at once,
-- 3 + place money), the wait in ms (-1: none helps); then for each account the mark of its tokens, what remains of requests and ms until all do, the same of tokens, and what is drawn of each money.
--
-- What is drawn is the first of the amounts for which every money has room, of each the same; where there is room for none, the first money that has none for the last refuses.
--
-- A window is a hash: entries `tick:weight` under numbers from `h` to before `t`, their sum `s`, the oldest tick `o` and the last one `l`, and under `gN` the sum of those of the 64
-- numbers from 64 N on that count. A tick is 10 ms, and what passed counts for 6001 ticks: a minute, and the tick at whose end it may have passed. So no sixty seconds hold more than the limit, wherever they
-- begin. The server does nothing else while this runs, so nothing here reads a window entry by entry.
local SPAN, GROUP, FEW = 6001, 64, 8
local DAY = 86400000
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local tick = math.floor(ms / 10)
local slot, asked, lease, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local key, arg = 2, 4

local function next_key()
    key = key + 1
    return KEYS[key]
end
local function next_arg()
    arg = arg + 1
    return ARGV[arg]
end

local function parse(entry)
    local at, weight = string.match(entry, '(%d+):(%d+)')
    return tonumber(at), tonumber(weight)
end

local function numbers(first, past)
    local all = {}
    for number = first, past - 1 do
        all[#all + 1] = string.format('%.0f', number)
    end
    return all
end

local function group(number)
    return 'g' .. math.floor(number / GROUP)
end

-- The first number of the next group.
local function beyond(number)
    return (math.floor(number / GROUP) + 1) * GROUP
end

local function add(w, weight)
    local number, all = w.tail - 1, weight
    if w.tail == w.head then
        w.oldest = w.now
    end
    if w.tail > w.head and w.last == w.now then
        local _, there = parse(redis.call('HGET', w.key, number))
        all = there + weight
    else
        number = w.tail
        w.tail = w.tail + 1
    end
    w.sum, w.last = w.sum + weight, w.now
    local entry, sum = string.format('%.0f:%.0f', w.now, all), string.format('%.0f', w.sum)
    redis.call('HSET', w.key, number, entry, 'h', w.head, 't', w.tail, 's', sum, 'o', w.oldest, 'l', w.now)
    redis.call('HINCRBY', w.key, group(number), string.format('%.0f', weight))
    redis.call('PEXPIRE', w.key, SPAN * 10 + 1000)
    return number
end

-- Opens a window and forgets what counts no more.
local function open(name)
    local found = redis.call('HMGET', name, 'h', 't', 's', 'l', 'o')
    -- A window begins at the number of its tick, of which each makes one entry at most: so no number comes again when a window was forgotten meanwhile, and no late correction finds another's entry.
    local w = { key = name, head = tonumber(found[1] or tick), tail = tonumber(found[2] or tick), sum = tonumber(found[3] or 0) }
    w.last, w.oldest = tonumber(found[4] or 0), tonumber(found[5] or 0)
    w.now = math.max(tick, w.last)
    if w.last + SPAN <= w.now or w.last > tick + SPAN then
        -- All of it counts no more; or the clock was set back by more than a minute, and nobody knows when it passed: all of it now.
        local left = w.last > tick and w.sum or 0
        if found[1] then
            redis.call('UNLINK', name)
        end
        w.head, w.tail, w.sum, w.last, w.now = tick, tick, 0, 0, tick
        if left > 0 then
            add(w, left)
        end
        return w
    end
    local before = w.head
    while w.head < w.tail and w.oldest + SPAN <= w.now do
        local past = math.min(beyond(w.head), w.tail)
        local few = redis.call('HMGET', name, unpack(numbers(w.head, math.min(w.head + FEW, past))))
        local gone, passed = 0, 0
        w.oldest = 0
        for _, entry in ipairs(few) do
            local at, weight = parse(entry)
            if at + SPAN > w.now then
                w.oldest = at
                break
            end
            gone, passed = gone + weight, passed + 1
        end
        if passed == FEW then
            local last, all = unpack(redis.call('HMGET', name, string.format('%.0f', past - 1), group(w.head)))
            if all and parse(last) + SPAN <= w.now then
                gone, passed = tonumber(all), past - w.head
            end
        end
        if passed > 0 then
            local forgotten = numbers(w.head, w.head + passed)
            if w.head + passed == beyond(w.head) then
                forgotten[#forgotten + 1] = group(w.head)
            else
                redis.call('HINCRBY', name, group(w.head), string.format('%.0f', -gone))
            end
            redis.call('HDEL', name, unpack(forgotten))
            w.sum, w.head = w.sum - gone, w.head + passed
        end
    end
    if w.head > before then
        if w.head == w.tail then
            w.sum = 0
        end
        redis.call('HSET', name, 'h', w.head, 's', string.format('%.0f', w.sum), 'o', w.oldest)
    end
    return w
end

local function until_tick(at)
    return math.max((at + SPAN) * 10 - ms, 1)
end

-- The wait until as much counts no more.
local function wait(w, excess)
    local gone = 0
    local function among(first, past)
        for _, entry in ipairs(redis.call('HMGET', w.key, unpack(numbers(first, past)))) do
            local at, weight = parse(entry)
            gone = gone + weight
            if gone >= excess then
                return until_tick(at)
            end
        end
    end
    local soon = among(w.head, math.min(w.head + FEW, w.tail))
    if soon then
        return soon
    end
    local groups, first = {}, w.head
    for number = math.floor(w.head / GROUP), math.floor((w.tail - 1) / GROUP) do
        groups[#groups + 1] = 'g' .. number
    end
    gone = 0
    for _, sum in ipairs(redis.call('HMGET', w.key, unpack(groups))) do
        local past, all = math.min(beyond(first), w.tail), tonumber(sum or 0)
        if gone + all >= excess then
            return among(first, past) or until_tick(w.last)
        end
        gone, first = gone + all, past
    end
    return until_tick(w.last)
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

local amounts = {}
for place = 1, tonumber(next_arg()) do
    amounts[place] = tonumber(next_arg())
end
local least = amounts[#amounts] or 0

-- The least room of all moneys; none where there is no money.
local accounts, room = {}, nil
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
        local m = { key = next_key(), cap = tonumber(next_arg()), header = next_arg(), keep = tonumber(next_arg()) }
        m.drawn, m.there, m.stamp = counter(m.key)
        if not m.drawn then
            return redis.error_reply('LLMR the record of ' .. m.key .. ' is not a counter')
        end
        local left = math.max(m.cap - math.max(m.drawn, 0), 0)
        if least > left then
            refuse(at, 3 + place, -1)
        end
        room = math.min(room or left, left)
        a.money[#a.money + 1] = m
    end
    accounts[#accounts + 1] = a
end

local drew = 0
if room and not refused then
    for _, amount in ipairs(amounts) do
        if amount <= room then
            drew = amount
            break
        end
    end
end

local function draw(m)
    m.drawn = m.drawn + drew
    local high = math.floor(m.drawn / 4294967296)
    local low = m.drawn - high * 4294967296
    if high < 0 then
        high = high + 4294967296
    end
    local record = (m.stamp or m.header) .. struct.pack('>I4I4', high, low)
    if m.there then
        redis.call('SET', m.key, record, 'KEEPTTL')
    elseif m.keep > 0 then
        redis.call('SET', m.key, record, 'PX', string.format('%.0f', m.keep))
    else
        redis.call('SET', m.key, record)
    end
end

if drew > 0 then
    -- Whoever asked may hear no answer; what they have given up meanwhile must not be counted any more, and what was counted must be found (`settle.lua`).
    if asked <= tonumber(redis.call('HGET', KEYS[1], 'known') or 0) then
        return redis.error_reply('LLMR nobody waits for this any more')
    end
    for _, a in ipairs(accounts) do
        for _, m in ipairs(a.money) do
            draw(m)
        end
    end
    -- After all of it is drawn: where anything above fails, what is not noted is not given back, and the caps hold. The note says how much: whoever hears no answer cannot know.
    redis.call('ZADD', KEYS[2], asked, string.format('%.0f:%.0f', asked, drew))
    redis.call('PEXPIRE', KEYS[2], DAY)
end

local reply = { ms, unpack(refused or { 0, drew, 0, 0 }) }
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
    end
    reply[#reply + 1] = mark
    say(a.requests, a.most_requests)
    say(a.tokens, a.most_tokens)
    for _, m in ipairs(a.money) do
        reply[#reply + 1] = math.max(m.drawn, 0)
    end
end
return reply
