-- Makes a change if the record is as expected; a record that has expired is none.
--
-- KEYS: the record, the index of its space.  ARGV: now in ms, whether a record is expected, its value, whether one shall be there, all of it, the ms after which Redis may drop it
-- (0: never), its key in the index.
local record = redis.call('GET', KEYS[1])
local value = false
if record then
    local over, under = struct.unpack('>I4I4', record)
    local expires = over * 4294967296 + under
    if expires == 0 or expires > tonumber(ARGV[1]) then
        value = string.sub(record, 9)
    end
end
if ARGV[2] == '1' then
    if value ~= ARGV[3] then
        return 0
    end
elseif value then
    return 0
end
if ARGV[4] == '1' then
    redis.call('SET', KEYS[1], ARGV[5])
    if tonumber(ARGV[6]) > 0 then
        redis.call('PEXPIRE', KEYS[1], ARGV[6])
    end
    redis.call('ZADD', KEYS[2], 0, ARGV[7])
else
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], ARGV[7])
end
return 1
