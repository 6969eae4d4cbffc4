-- Changes to keys and accounts, and their authors. Ids go by time. An entry is kept whole, as text; beside it stands what is
-- looked for.
CREATE TABLE tollgate_audit (
    id {BYTES} NOT NULL PRIMARY KEY,
    account {TEXT},
    key {BYTES},
    actor {TEXT},
    action {TEXT} NOT NULL,
    record {TEXT} NOT NULL
){TABLE};
CREATE INDEX tollgate_audit_of_account ON tollgate_audit (account, id) WHERE account IS NOT NULL;
CREATE INDEX tollgate_audit_of_key ON tollgate_audit (key, id) WHERE key IS NOT NULL;
CREATE INDEX tollgate_audit_of_actor ON tollgate_audit (actor, id) WHERE actor IS NOT NULL;
CREATE INDEX tollgate_audit_of_action ON tollgate_audit (action, id);
