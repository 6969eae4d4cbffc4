-- The number of periods by which grants have moved the floor, null for a floor that was written before.
ALTER TABLE tollgate_balances ADD COLUMN moved {INT};
ALTER TABLE tollgate_budgets ADD COLUMN moved {INT};
