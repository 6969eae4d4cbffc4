-- The crossings of thresholds that were told. The period is the last one.
CREATE TABLE tollgate_crossings (
    kind {TEXT} NOT NULL,
    subject {TEXT} NOT NULL,
    threshold {TEXT} NOT NULL,
    period {INT} NOT NULL,
    claimed_at {INT} NOT NULL,
    PRIMARY KEY (kind, subject, threshold)
){TABLE};
CREATE INDEX tollgate_crossings_claimed ON tollgate_crossings (kind, claimed_at);

-- The alerts that wait for their delivery to a sink.
CREATE TABLE tollgate_alerts (
    id {TEXT} NOT NULL,
    sink {TEXT} NOT NULL,
    alert {TEXT} NOT NULL,
    attempts {INT} NOT NULL,
    due_at {INT} NOT NULL,
    PRIMARY KEY (id, sink)
){TABLE};
CREATE INDEX tollgate_alerts_due ON tollgate_alerts (due_at);
