-- The key that issued a key; none for a key that no key issued.
ALTER TABLE tollgate_keys ADD COLUMN issued_by {BYTES};
CREATE INDEX tollgate_keys_issued ON tollgate_keys (issued_by, id) WHERE issued_by IS NOT NULL;
