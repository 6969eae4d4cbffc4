-- The ids of written batches: a batch that is written again changes nothing.
CREATE TABLE tollgate_usage_batches (
    node {BYTES} NOT NULL,
    number {INT} NOT NULL,
    at {INT} NOT NULL,
    PRIMARY KEY (node, number)
){TABLE};
CREATE INDEX tollgate_usage_batches_by_time ON tollgate_usage_batches (at);

-- What is counted. The id is the first half of the SHA-256 of the other columns, so that a node needs no look-up to write counts.
CREATE TABLE tollgate_usage_series (
    id {BYTES} NOT NULL PRIMARY KEY,
    -- None for requests without a key.
    key {BYTES},
    account {TEXT},
    rule {TEXT} NOT NULL,
    outcome {TEXT} NOT NULL
){TABLE};
CREATE INDEX tollgate_usage_series_of_key ON tollgate_usage_series (key);
CREATE INDEX tollgate_usage_series_of_account ON tollgate_usage_series (account);
CREATE INDEX tollgate_usage_series_of_rule ON tollgate_usage_series (rule);

-- The counts of each step. A start and a last time are milliseconds since 1970.
CREATE TABLE tollgate_usage_minutes (
    start {INT} NOT NULL,
    requests {INT} NOT NULL,
    credits {INT} NOT NULL,
    units {INT} NOT NULL,
    bytes {INT} NOT NULL,
    last_seen {INT} NOT NULL,
    series {BYTES} NOT NULL,
    PRIMARY KEY (series, start)
){TABLE};
CREATE INDEX tollgate_usage_minutes_by_start ON tollgate_usage_minutes (start);

CREATE TABLE tollgate_usage_hours (
    start {INT} NOT NULL,
    requests {INT} NOT NULL,
    credits {INT} NOT NULL,
    units {INT} NOT NULL,
    bytes {INT} NOT NULL,
    last_seen {INT} NOT NULL,
    series {BYTES} NOT NULL,
    PRIMARY KEY (series, start)
){TABLE};
CREATE INDEX tollgate_usage_hours_by_start ON tollgate_usage_hours (start);

CREATE TABLE tollgate_usage_days (
    start {INT} NOT NULL,
    requests {INT} NOT NULL,
    credits {INT} NOT NULL,
    units {INT} NOT NULL,
    bytes {INT} NOT NULL,
    last_seen {INT} NOT NULL,
    series {BYTES} NOT NULL,
    PRIMARY KEY (series, start)
){TABLE};
CREATE INDEX tollgate_usage_days_by_start ON tollgate_usage_days (start);

CREATE TABLE tollgate_usage_months (
    start {INT} NOT NULL,
    requests {INT} NOT NULL,
    credits {INT} NOT NULL,
    units {INT} NOT NULL,
    bytes {INT} NOT NULL,
    last_seen {INT} NOT NULL,
    series {BYTES} NOT NULL,
    PRIMARY KEY (series, start)
){TABLE};
CREATE INDEX tollgate_usage_months_by_start ON tollgate_usage_months (start);
