-- KEYS: the entry, the mark of its hash, the mark of everything. ARGV: the start of the names of marks of keys, the
-- same for accounts, and the maximum length of a text. Returns the time, then the entry's time, life, text, key and
-- account.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = { string.format('%.0f', now) }

-- A value that another program stored here is not an entry.
local length = redis.pcall('HSTRLEN', KEYS[1], 'text')
if type(length) ~= 'number' or length == 0 or length > tonumber(ARGV[3]) then return answer end
local kept = redis.call('HMGET', KEYS[1], 'moment', 'life', 'text', 'key', 'account')
local moment, life = tonumber(kept[1] or ''), tonumber(kept[2] or '')
if not moment or not life or moment > now or moment + life <= now then return answer end

local marks = { KEYS[2], KEYS[3] }
if kept[4] then marks[3] = ARGV[1] .. kept[4] end
if kept[5] then marks[#marks + 1] = ARGV[2] .. kept[5] end
for _, mark in ipairs(redis.call('MGET', unpack(marks))) do
  if mark and (tonumber(mark) or now) >= moment then return answer end
end
return { answer[1], kept[1], kept[2], kept[3], kept[4] or '', kept[5] or '' }
