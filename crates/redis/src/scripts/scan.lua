-- A page of a space: the records from one bound to another, by key. What Redis dropped leaves the index.
--
-- KEYS: the index.  ARGV: what stands before a key in the name of its record, the least and the greatest key as ZRANGEBYLEX reads them, the most records to look at, now in ms.
-- Gives whether there may be more, the last key looked at, then key and value of each record that holds.
local members = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
local reply = { #members >= tonumber(ARGV[4]) and '1' or '0', members[#members] or '' }
for _, member in ipairs(members) do
    local record = redis.call('GET', ARGV[1] .. member)
    if record then
        local over, under = struct.unpack('>I4I4', record)
        local expires = over * 4294967296 + under
        if expires == 0 or expires > tonumber(ARGV[5]) then
            reply[#reply + 1] = member
            reply[#reply + 1] = string.sub(record, 9)
        end
    else
        redis.call('ZREM', KEYS[1], member)
    end
end
return reply
