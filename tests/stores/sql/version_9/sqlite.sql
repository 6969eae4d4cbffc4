CREATE TABLE tollgate_schema (version BIGINT PRIMARY KEY);
INSERT INTO tollgate_schema VALUES(1);
INSERT INTO tollgate_schema VALUES(2);
INSERT INTO tollgate_schema VALUES(3);
INSERT INTO tollgate_schema VALUES(4);
INSERT INTO tollgate_schema VALUES(5);
INSERT INTO tollgate_schema VALUES(6);
INSERT INTO tollgate_schema VALUES(7);
INSERT INTO tollgate_schema VALUES(8);
INSERT INTO tollgate_schema VALUES(9);
CREATE TABLE tollgate_accounts (
    id TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_keys (
    id BLOB NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES tollgate_accounts (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    environment TEXT NOT NULL,
    version INTEGER NOT NULL,
    expires_at INTEGER,
    -- When it was revoked or expires, the earlier of both.
    dead_at INTEGER,
    last_used_at INTEGER,
    record TEXT NOT NULL
, issued_by BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_hashes (
    hash BLOB NOT NULL PRIMARY KEY,
    key BLOB NOT NULL REFERENCES tollgate_keys (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_balances (
    account TEXT NOT NULL PRIMARY KEY,
    -- Counts the changes: one that was decided on an older version is not made.
    version INTEGER NOT NULL,
    balance INTEGER NOT NULL CHECK (balance >= 0),
    -- The sum of the open charges.
    held INTEGER NOT NULL CHECK (held >= 0),
    -- What of it is out in blocks and not committed.
    lent INTEGER NOT NULL CHECK (lent >= 0),
    unlimited INTEGER NOT NULL,
    due INTEGER,
    seen INTEGER,
    -- The number of the last entry.
    entries INTEGER NOT NULL
, period INTEGER NOT NULL DEFAULT 0, again INTEGER, floor INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO tollgate_balances VALUES('ada',2994721258091794794,67,30,0,0,NULL,1777550400000,5,0,NULL,NULL);
INSERT INTO tollgate_balances VALUES('bob',3963461971963922504,20,30,6,0,1777554000000,1777550400000,3,3600000,NULL,NULL);
INSERT INTO tollgate_balances VALUES('eve',2530252945135129203,0,0,0,1,NULL,1777550400000,1,0,NULL,NULL);
CREATE TABLE tollgate_entries (
    account TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    charge BLOB,
    adjustment TEXT,
    amount INTEGER NOT NULL,
    -- None where there is no limit.
    balance INTEGER,
    PRIMARY KEY (account, number)
) STRICT, WITHOUT ROWID;
INSERT INTO tollgate_entries VALUES('ada',1,1777550400000,'set',NULL,'a',100,100);
INSERT INTO tollgate_entries VALUES('ada',2,1777550400000,'charge',X'00000000000000000000000000000001',NULL,-30,70);
INSERT INTO tollgate_entries VALUES('ada',3,1777550400000,'charge',X'00000000000000000000000000000002',NULL,-30,40);
INSERT INTO tollgate_entries VALUES('ada',4,1777550400000,'settlement',X'00000000000000000000000000000002',NULL,20,60);
INSERT INTO tollgate_entries VALUES('ada',5,1777550400000,'top-up',NULL,'paid',7,67);
INSERT INTO tollgate_entries VALUES('bob',1,1777550400000,'grant',NULL,NULL,50,50);
INSERT INTO tollgate_entries VALUES('bob',2,1777550400000,'charge',X'00000000000000000000000000000003',NULL,-20,30);
INSERT INTO tollgate_entries VALUES('bob',3,1777550400000,'charge',X'00000000000000000000000000000004',NULL,-10,20);
INSERT INTO tollgate_entries VALUES('eve',1,1777550400000,'unlimited',NULL,'a',0,NULL);
CREATE TABLE tollgate_charges (
    account TEXT NOT NULL,
    id BLOB NOT NULL,
    amount INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    -- None while it is open. One that was closed before it came has an amount of zero, and is never taken.
    closed_at INTEGER,
    -- Of a block that a node holds, what counts as spent should it never be closed; none of any other charge.
    committed INTEGER,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
INSERT INTO tollgate_charges VALUES('ada',X'00000000000000000000000000000001',30,1796094888013,NULL,NULL);
INSERT INTO tollgate_charges VALUES('ada',X'00000000000000000000000000000002',30,1796094888016,1796094888021,NULL);
INSERT INTO tollgate_charges VALUES('bob',X'00000000000000000000000000000003',20,1796094888030,NULL,NULL);
INSERT INTO tollgate_charges VALUES('bob',X'00000000000000000000000000000004',10,1796094888031,NULL,4);
CREATE TABLE tollgate_adjustments (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount INTEGER NOT NULL,
    balance INTEGER,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
INSERT INTO tollgate_adjustments VALUES('ada','a','set',100,100);
INSERT INTO tollgate_adjustments VALUES('ada','paid','top-up',7,67);
INSERT INTO tollgate_adjustments VALUES('eve','a','unlimited',0,NULL);
CREATE TABLE tollgate_usage_batches (
    node BLOB NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (node, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_usage_series (
    id BLOB NOT NULL PRIMARY KEY,
    -- None for requests without a key.
    key BLOB,
    account TEXT,
    rule TEXT NOT NULL,
    outcome TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_usage_minutes (
    start INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    units INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    series BLOB NOT NULL,
    PRIMARY KEY (series, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_usage_hours (
    start INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    units INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    series BLOB NOT NULL,
    PRIMARY KEY (series, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_usage_days (
    start INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    units INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    series BLOB NOT NULL,
    PRIMARY KEY (series, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_usage_months (
    start INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    units INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    series BLOB NOT NULL,
    PRIMARY KEY (series, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_audit (
    id BLOB NOT NULL PRIMARY KEY,
    account TEXT,
    key BLOB,
    actor TEXT,
    action TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_crossings (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    threshold TEXT NOT NULL,
    period INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL, account TEXT,
    PRIMARY KEY (kind, subject, threshold)
) STRICT, WITHOUT ROWID;
CREATE TABLE tollgate_alerts (
    id TEXT NOT NULL,
    sink TEXT NOT NULL,
    alert TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL, account TEXT,
    PRIMARY KEY (id, sink)
) STRICT, WITHOUT ROWID;
CREATE INDEX tollgate_keys_of_account ON tollgate_keys (account, id);
CREATE INDEX tollgate_keys_by_status ON tollgate_keys (status, id);
CREATE INDEX tollgate_keys_by_environment ON tollgate_keys (environment, id);
CREATE INDEX tollgate_keys_dead ON tollgate_keys (dead_at) WHERE dead_at IS NOT NULL;
CREATE INDEX tollgate_hashes_of_key ON tollgate_hashes (key);
CREATE INDEX tollgate_charges_open ON tollgate_charges (opened_at) WHERE closed_at IS NULL;
CREATE INDEX tollgate_charges_closed ON tollgate_charges (closed_at) WHERE closed_at IS NOT NULL;
CREATE INDEX tollgate_keys_issued ON tollgate_keys (issued_by, id) WHERE issued_by IS NOT NULL;
CREATE INDEX tollgate_usage_batches_by_time ON tollgate_usage_batches (at);
CREATE INDEX tollgate_usage_series_of_key ON tollgate_usage_series (key);
CREATE INDEX tollgate_usage_series_of_account ON tollgate_usage_series (account);
CREATE INDEX tollgate_usage_series_of_rule ON tollgate_usage_series (rule);
CREATE INDEX tollgate_usage_minutes_by_start ON tollgate_usage_minutes (start);
CREATE INDEX tollgate_usage_hours_by_start ON tollgate_usage_hours (start);
CREATE INDEX tollgate_usage_days_by_start ON tollgate_usage_days (start);
CREATE INDEX tollgate_usage_months_by_start ON tollgate_usage_months (start);
CREATE INDEX tollgate_audit_of_account ON tollgate_audit (account, id) WHERE account IS NOT NULL;
CREATE INDEX tollgate_audit_of_key ON tollgate_audit (key, id) WHERE key IS NOT NULL;
CREATE INDEX tollgate_audit_of_actor ON tollgate_audit (actor, id) WHERE actor IS NOT NULL;
CREATE INDEX tollgate_audit_of_action ON tollgate_audit (action, id);
CREATE INDEX tollgate_crossings_claimed ON tollgate_crossings (kind, claimed_at);
CREATE INDEX tollgate_alerts_due ON tollgate_alerts (due_at);
CREATE INDEX tollgate_crossings_account ON tollgate_crossings (account);
CREATE INDEX tollgate_alerts_account ON tollgate_alerts (account);
