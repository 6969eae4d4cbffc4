-- Returns, for each window, the number of units that it has left, the time until it is full, and the time until it has one
-- more unit. It takes nothing.
local now, states = clock(), {}
for i, window in ipairs(read(#KEYS, now)) do states[i] = { state_of(window, now) } end
return states
