-- The earliest time of a grant by clocks that were set back, null until a clock leaps.
ALTER TABLE tollgate_balances ADD COLUMN floor {INT};
