-- Whole numbers up to 2^63, which a double does not hold exactly: pairs of billions and the rest.
local BILLION = 1000000000

local function big(text)
  if #text > 19 or not text:find('^%d+$') then error('a balance holds no number') end
  return { tonumber(text:sub(1, -10)) or 0, tonumber(text:sub(-9)) }
end

local function text(number)
  if number[1] == 0 then return ('%d'):format(number[2]) end
  return ('%d%09d'):format(number[1], number[2])
end

local function less(a, b)
  return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
end

local function plus(a, b)
  local rest = a[2] + b[2]
  local carry = rest >= BILLION and 1 or 0
  return { a[1] + b[1] + carry, rest - carry * BILLION }
end

-- The difference of a number and one that is not above it.
local function minus(a, b)
  local rest = a[2] - b[2]
  local borrow = rest < 0 and 1 or 0
  return { a[1] - b[1] - borrow, rest + borrow * BILLION }
end

local ZERO, MAX = { 0, 0 }, big('9223372036854775807')
