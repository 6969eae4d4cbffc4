-- The buckets of the balance and the debt, as JSON. Null for a balance of one bucket that was written before.
ALTER TABLE tollgate_balances ADD COLUMN buckets {TEXT};
-- The credits that cannot be spent yet, minus the debt.
ALTER TABLE tollgate_balances ADD COLUMN beside {INT} NOT NULL DEFAULT 0;
-- The bucket of an entry, null for the main bucket, and the amount in it after the entry.
ALTER TABLE tollgate_entries ADD COLUMN bucket {TEXT};
ALTER TABLE tollgate_entries ADD COLUMN rest {INT};
-- The amounts of a charge by bucket, null if all of it was taken from the main bucket.
ALTER TABLE tollgate_charges ADD COLUMN draws {TEXT};
-- The key whose budget the charge was drawn from, and the number of the budget's period.
ALTER TABLE tollgate_charges ADD COLUMN budget {BYTES};
ALTER TABLE tollgate_charges ADD COLUMN turn {INT};
-- The buckets and the terms that an adjustment names, as JSON.
ALTER TABLE tollgate_adjustments ADD COLUMN terms {TEXT};

-- The credits that keys have spent of their budgets.
CREATE TABLE tollgate_budgets (
    account {TEXT} NOT NULL,
    key {BYTES} NOT NULL,
    spent {INT} NOT NULL,
    -- The number of the period, and the number of the open charges.
    turn {INT} NOT NULL,
    opened {INT} NOT NULL,
    due {INT} NOT NULL,
    period {INT} NOT NULL,
    again {INT},
    floor {INT},
    idle_from {INT} NOT NULL,
    PRIMARY KEY (account, key)
){TABLE};
