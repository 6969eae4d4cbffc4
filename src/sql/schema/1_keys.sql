-- Records are kept whole, as text; beside it stands what is looked for.
CREATE TABLE tollgate_accounts (
    id {TEXT} NOT NULL PRIMARY KEY,
    version {INT} NOT NULL,
    record {TEXT} NOT NULL
){TABLE};

CREATE TABLE tollgate_keys (
    id {BYTES} NOT NULL PRIMARY KEY,
    account {TEXT} NOT NULL REFERENCES tollgate_accounts (id) ON DELETE CASCADE,
    status {TEXT} NOT NULL,
    environment {TEXT} NOT NULL,
    version {INT} NOT NULL,
    expires_at {INT},
    -- When it was revoked or expires, the earlier of both.
    dead_at {INT},
    last_used_at {INT},
    record {TEXT} NOT NULL
){TABLE};
CREATE INDEX tollgate_keys_of_account ON tollgate_keys (account, id);
CREATE INDEX tollgate_keys_by_status ON tollgate_keys (status, id);
CREATE INDEX tollgate_keys_by_environment ON tollgate_keys (environment, id);
CREATE INDEX tollgate_keys_dead ON tollgate_keys (dead_at) WHERE dead_at IS NOT NULL;

-- The secrets that a key is found by: its own, and the one that is retiring. No two keys share one.
CREATE TABLE tollgate_hashes (
    hash {BYTES} NOT NULL PRIMARY KEY,
    key {BYTES} NOT NULL REFERENCES tollgate_keys (id) ON DELETE CASCADE
){TABLE};
CREATE INDEX tollgate_hashes_of_key ON tollgate_hashes (key);
