CREATE TABLE tollgate_balances (
    account {TEXT} NOT NULL PRIMARY KEY,
    -- Counts the changes: one that was decided on an older version is not made.
    version {INT} NOT NULL,
    balance {INT} NOT NULL CHECK (balance >= 0),
    -- The sum of the open charges.
    held {INT} NOT NULL CHECK (held >= 0),
    -- What of it is out in blocks and not committed.
    lent {INT} NOT NULL CHECK (lent >= 0),
    unlimited {INT} NOT NULL,
    due {INT},
    seen {INT},
    -- The number of the last entry.
    entries {INT} NOT NULL
){TABLE};

-- Written once, never changed.
CREATE TABLE tollgate_entries (
    account {TEXT} NOT NULL,
    number {INT} NOT NULL,
    at {INT} NOT NULL,
    kind {TEXT} NOT NULL,
    charge {BYTES},
    adjustment {TEXT},
    amount {INT} NOT NULL,
    -- None where there is no limit.
    balance {INT},
    PRIMARY KEY (account, number)
){TABLE};

CREATE TABLE tollgate_charges (
    account {TEXT} NOT NULL,
    id {BYTES} NOT NULL,
    amount {INT} NOT NULL,
    opened_at {INT} NOT NULL,
    -- None while it is open. One that was closed before it came has an amount of zero, and is never taken.
    closed_at {INT},
    -- Of a block that a node holds, what counts as spent should it never be closed; none of any other charge.
    committed {INT},
    PRIMARY KEY (account, id)
){TABLE};
CREATE INDEX tollgate_charges_open ON tollgate_charges (opened_at) WHERE closed_at IS NULL;
CREATE INDEX tollgate_charges_closed ON tollgate_charges (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE tollgate_adjustments (
    account {TEXT} NOT NULL,
    id {TEXT} NOT NULL,
    kind {TEXT} NOT NULL,
    amount {INT} NOT NULL,
    balance {INT},
    PRIMARY KEY (account, id)
){TABLE};
