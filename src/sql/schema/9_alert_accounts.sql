-- The account that an alert is about, by which it is erased. Null for an alert about no account.
ALTER TABLE tollgate_crossings ADD COLUMN account {TEXT};
ALTER TABLE tollgate_alerts ADD COLUMN account {TEXT};
CREATE INDEX tollgate_crossings_account ON tollgate_crossings (account);
CREATE INDEX tollgate_alerts_account ON tollgate_alerts (account);
