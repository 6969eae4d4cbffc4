-- Whole numbers up to 2^63. A value that a double represents exactly is a number. A larger value is a pair of billions
-- and remainder.
local BILLION = 1000000000
local MAX = { 9223372036, 854775807 }

local function big(text)
  if #text > 19 or not text:find('^%d+$') then error('a balance holds no number') end
  if #text <= 15 then return tonumber(text) end
  return { tonumber(text:sub(1, -10)), tonumber(text:sub(-9)) }
end

local function text(number)
  if type(number) == 'number' then return ('%d'):format(number) end
  if number[1] == 0 then return ('%d'):format(number[2]) end
  return ('%d%09d'):format(number[1], number[2])
end

local function pair(number)
  if type(number) ~= 'number' then return number[1], number[2] end
  return math.floor(number / BILLION), number % BILLION
end

local function less(a, b)
  if type(a) == 'number' and type(b) == 'number' then return a < b end
  local a1, a2 = pair(a)
  local b1, b2 = pair(b)
  return a1 < b1 or (a1 == b1 and a2 < b2)
end

-- Returns the sum of two numbers, or their difference if the sign is -1 and the second is not above the first.
local function plus(a, b, sign)
  if type(a) == 'number' and type(b) == 'number' then return a + b * (sign or 1) end
  local a1, a2 = pair(a)
  local b1, b2 = pair(b)
  local rest = a2 + b2 * (sign or 1)
  local carry = math.floor(rest / BILLION)
  return { a1 + b1 * (sign or 1) + carry, rest - carry * BILLION }
end
