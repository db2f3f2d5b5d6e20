-- Adds to a counter of 64 bits, which stays within them, and gives its 8 bytes; nothing where the record is no counter.
--
-- KEYS: the record, the index of its space.  ARGV: now in ms, what is added as 8 bytes, the expiry of a new record as 8 bytes, the ms after which Redis may drop it (0: never), its
-- key in the index. A number of Lua holds 53 bits, so the halves are added apart.
local record = redis.call('GET', KEYS[1])
if record then
    local over, under = struct.unpack('>I4I4', record)
    local expires = over * 4294967296 + under
    if expires ~= 0 and expires <= tonumber(ARGV[1]) then
        record = false
    end
end
if not record then
    redis.call('SET', KEYS[1], ARGV[3] .. ARGV[2])
    if tonumber(ARGV[4]) > 0 then
        redis.call('PEXPIRE', KEYS[1], ARGV[4])
    end
    redis.call('ZADD', KEYS[2], 0, ARGV[5])
    return ARGV[2]
end
if #record ~= 16 then
    return false
end
local high, low = struct.unpack('>i4I4', string.sub(record, 9))
local more_high, more_low = struct.unpack('>i4I4', ARGV[2])
low = low + more_low
high = high + more_high + math.floor(low / 4294967296)
low = low % 4294967296
if high > 2147483647 then
    high, low = 2147483647, 4294967295
elseif high < -2147483648 then
    high, low = -2147483648, 0
end
if high < 0 then
    high = high + 4294967296
end
local value = struct.pack('>I4I4', high, low)
redis.call('SET', KEYS[1], string.sub(record, 1, 8) .. value, 'KEEPTTL')
return value
