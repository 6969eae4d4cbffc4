-- The period that `due` is a turn of, zero where it was not noted, and the next turn by clocks that were set back.
ALTER TABLE tollgate_balances ADD COLUMN period {INT} NOT NULL DEFAULT 0;
ALTER TABLE tollgate_balances ADD COLUMN again {INT};
