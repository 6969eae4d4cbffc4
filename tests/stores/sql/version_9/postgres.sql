CREATE TABLE public.tollgate_accounts (
    id text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    record text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.tollgate_adjustments (
    account text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    amount bigint NOT NULL,
    balance bigint
);
CREATE TABLE public.tollgate_alerts (
    id text NOT NULL COLLATE pg_catalog."C",
    sink text NOT NULL COLLATE pg_catalog."C",
    alert text NOT NULL COLLATE pg_catalog."C",
    attempts bigint NOT NULL,
    due_at bigint NOT NULL,
    account text COLLATE pg_catalog."C"
);
CREATE TABLE public.tollgate_audit (
    id bytea NOT NULL,
    account text COLLATE pg_catalog."C",
    key bytea,
    actor text COLLATE pg_catalog."C",
    action text NOT NULL COLLATE pg_catalog."C",
    record text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.tollgate_balances (
    account text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    balance bigint NOT NULL,
    held bigint NOT NULL,
    lent bigint NOT NULL,
    unlimited bigint NOT NULL,
    due bigint,
    seen bigint,
    entries bigint NOT NULL,
    period bigint DEFAULT 0 NOT NULL,
    again bigint,
    floor bigint,
    CONSTRAINT tollgate_balances_balance_check CHECK ((balance >= 0)),
    CONSTRAINT tollgate_balances_held_check CHECK ((held >= 0)),
    CONSTRAINT tollgate_balances_lent_check CHECK ((lent >= 0))
);
CREATE TABLE public.tollgate_charges (
    account text NOT NULL COLLATE pg_catalog."C",
    id bytea NOT NULL,
    amount bigint NOT NULL,
    opened_at bigint NOT NULL,
    closed_at bigint,
    committed bigint
);
CREATE TABLE public.tollgate_crossings (
    kind text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    threshold text NOT NULL COLLATE pg_catalog."C",
    period bigint NOT NULL,
    claimed_at bigint NOT NULL,
    account text COLLATE pg_catalog."C"
);
CREATE TABLE public.tollgate_entries (
    account text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    at bigint NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    charge bytea,
    adjustment text COLLATE pg_catalog."C",
    amount bigint NOT NULL,
    balance bigint
);
CREATE TABLE public.tollgate_hashes (
    hash bytea NOT NULL,
    key bytea NOT NULL
);
CREATE TABLE public.tollgate_keys (
    id bytea NOT NULL,
    account text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    environment text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    expires_at bigint,
    dead_at bigint,
    last_used_at bigint,
    record text NOT NULL COLLATE pg_catalog."C",
    issued_by bytea
);
CREATE TABLE public.tollgate_schema (
    version bigint NOT NULL
);
CREATE TABLE public.tollgate_usage_batches (
    node bytea NOT NULL,
    number bigint NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE public.tollgate_usage_days (
    start bigint NOT NULL,
    requests bigint NOT NULL,
    credits bigint NOT NULL,
    units bigint NOT NULL,
    bytes bigint NOT NULL,
    last_seen bigint NOT NULL,
    series bytea NOT NULL
);
CREATE TABLE public.tollgate_usage_hours (
    start bigint NOT NULL,
    requests bigint NOT NULL,
    credits bigint NOT NULL,
    units bigint NOT NULL,
    bytes bigint NOT NULL,
    last_seen bigint NOT NULL,
    series bytea NOT NULL
);
CREATE TABLE public.tollgate_usage_minutes (
    start bigint NOT NULL,
    requests bigint NOT NULL,
    credits bigint NOT NULL,
    units bigint NOT NULL,
    bytes bigint NOT NULL,
    last_seen bigint NOT NULL,
    series bytea NOT NULL
);
CREATE TABLE public.tollgate_usage_months (
    start bigint NOT NULL,
    requests bigint NOT NULL,
    credits bigint NOT NULL,
    units bigint NOT NULL,
    bytes bigint NOT NULL,
    last_seen bigint NOT NULL,
    series bytea NOT NULL
);
CREATE TABLE public.tollgate_usage_series (
    id bytea NOT NULL,
    key bytea,
    account text COLLATE pg_catalog."C",
    rule text NOT NULL COLLATE pg_catalog."C",
    outcome text NOT NULL COLLATE pg_catalog."C"
);
INSERT INTO public.tollgate_adjustments VALUES ('ada', 'a', 'set', 100, 100);
INSERT INTO public.tollgate_adjustments VALUES ('ada', 'paid', 'top-up', 7, 67);
INSERT INTO public.tollgate_adjustments VALUES ('eve', 'a', 'unlimited', 0, NULL);
INSERT INTO public.tollgate_balances VALUES ('ada', 2893620870577595356, 67, 30, 0, 0, NULL, 1777550400000, 5, 0, NULL, NULL);
INSERT INTO public.tollgate_balances VALUES ('bob', 1829333141130395300, 20, 30, 6, 0, 1777554000000, 1777550400000, 3, 3600000, NULL, NULL);
INSERT INTO public.tollgate_balances VALUES ('eve', 614829470622094455, 0, 0, 0, 1, NULL, 1777550400000, 1, 0, NULL, NULL);
INSERT INTO public.tollgate_charges VALUES ('ada', '\x00000000000000000000000000000001', 30, 1796094890543, NULL, NULL);
INSERT INTO public.tollgate_charges VALUES ('ada', '\x00000000000000000000000000000002', 30, 1796094890550, 1796094890553, NULL);
INSERT INTO public.tollgate_charges VALUES ('bob', '\x00000000000000000000000000000003', 20, 1796094890562, NULL, NULL);
INSERT INTO public.tollgate_charges VALUES ('bob', '\x00000000000000000000000000000004', 10, 1796094890565, NULL, 4);
INSERT INTO public.tollgate_entries VALUES ('ada', 1, 1777550400000, 'set', NULL, 'a', 100, 100);
INSERT INTO public.tollgate_entries VALUES ('ada', 2, 1777550400000, 'charge', '\x00000000000000000000000000000001', NULL, -30, 70);
INSERT INTO public.tollgate_entries VALUES ('ada', 3, 1777550400000, 'charge', '\x00000000000000000000000000000002', NULL, -30, 40);
INSERT INTO public.tollgate_entries VALUES ('ada', 4, 1777550400000, 'settlement', '\x00000000000000000000000000000002', NULL, 20, 60);
INSERT INTO public.tollgate_entries VALUES ('ada', 5, 1777550400000, 'top-up', NULL, 'paid', 7, 67);
INSERT INTO public.tollgate_entries VALUES ('bob', 1, 1777550400000, 'grant', NULL, NULL, 50, 50);
INSERT INTO public.tollgate_entries VALUES ('bob', 2, 1777550400000, 'charge', '\x00000000000000000000000000000003', NULL, -20, 30);
INSERT INTO public.tollgate_entries VALUES ('bob', 3, 1777550400000, 'charge', '\x00000000000000000000000000000004', NULL, -10, 20);
INSERT INTO public.tollgate_entries VALUES ('eve', 1, 1777550400000, 'unlimited', NULL, 'a', 0, NULL);
INSERT INTO public.tollgate_schema VALUES (1);
INSERT INTO public.tollgate_schema VALUES (2);
INSERT INTO public.tollgate_schema VALUES (3);
INSERT INTO public.tollgate_schema VALUES (4);
INSERT INTO public.tollgate_schema VALUES (5);
INSERT INTO public.tollgate_schema VALUES (6);
INSERT INTO public.tollgate_schema VALUES (7);
INSERT INTO public.tollgate_schema VALUES (8);
INSERT INTO public.tollgate_schema VALUES (9);
ALTER TABLE ONLY public.tollgate_accounts
    ADD CONSTRAINT tollgate_accounts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tollgate_adjustments
    ADD CONSTRAINT tollgate_adjustments_pkey PRIMARY KEY (account, id);
ALTER TABLE ONLY public.tollgate_alerts
    ADD CONSTRAINT tollgate_alerts_pkey PRIMARY KEY (id, sink);
ALTER TABLE ONLY public.tollgate_audit
    ADD CONSTRAINT tollgate_audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tollgate_balances
    ADD CONSTRAINT tollgate_balances_pkey PRIMARY KEY (account);
ALTER TABLE ONLY public.tollgate_charges
    ADD CONSTRAINT tollgate_charges_pkey PRIMARY KEY (account, id);
ALTER TABLE ONLY public.tollgate_crossings
    ADD CONSTRAINT tollgate_crossings_pkey PRIMARY KEY (kind, subject, threshold);
ALTER TABLE ONLY public.tollgate_entries
    ADD CONSTRAINT tollgate_entries_pkey PRIMARY KEY (account, number);
ALTER TABLE ONLY public.tollgate_hashes
    ADD CONSTRAINT tollgate_hashes_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY public.tollgate_keys
    ADD CONSTRAINT tollgate_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tollgate_schema
    ADD CONSTRAINT tollgate_schema_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.tollgate_usage_batches
    ADD CONSTRAINT tollgate_usage_batches_pkey PRIMARY KEY (node, number);
ALTER TABLE ONLY public.tollgate_usage_days
    ADD CONSTRAINT tollgate_usage_days_pkey PRIMARY KEY (series, start);
ALTER TABLE ONLY public.tollgate_usage_hours
    ADD CONSTRAINT tollgate_usage_hours_pkey PRIMARY KEY (series, start);
ALTER TABLE ONLY public.tollgate_usage_minutes
    ADD CONSTRAINT tollgate_usage_minutes_pkey PRIMARY KEY (series, start);
ALTER TABLE ONLY public.tollgate_usage_months
    ADD CONSTRAINT tollgate_usage_months_pkey PRIMARY KEY (series, start);
ALTER TABLE ONLY public.tollgate_usage_series
    ADD CONSTRAINT tollgate_usage_series_pkey PRIMARY KEY (id);
CREATE INDEX tollgate_alerts_account ON public.tollgate_alerts USING btree (account);
CREATE INDEX tollgate_alerts_due ON public.tollgate_alerts USING btree (due_at);
CREATE INDEX tollgate_audit_of_account ON public.tollgate_audit USING btree (account, id) WHERE (account IS NOT NULL);
CREATE INDEX tollgate_audit_of_action ON public.tollgate_audit USING btree (action, id);
CREATE INDEX tollgate_audit_of_actor ON public.tollgate_audit USING btree (actor, id) WHERE (actor IS NOT NULL);
CREATE INDEX tollgate_audit_of_key ON public.tollgate_audit USING btree (key, id) WHERE (key IS NOT NULL);
CREATE INDEX tollgate_charges_closed ON public.tollgate_charges USING btree (closed_at) WHERE (closed_at IS NOT NULL);
CREATE INDEX tollgate_charges_open ON public.tollgate_charges USING btree (opened_at) WHERE (closed_at IS NULL);
CREATE INDEX tollgate_crossings_account ON public.tollgate_crossings USING btree (account);
CREATE INDEX tollgate_crossings_claimed ON public.tollgate_crossings USING btree (kind, claimed_at);
CREATE INDEX tollgate_hashes_of_key ON public.tollgate_hashes USING btree (key);
CREATE INDEX tollgate_keys_by_environment ON public.tollgate_keys USING btree (environment, id);
CREATE INDEX tollgate_keys_by_status ON public.tollgate_keys USING btree (status, id);
CREATE INDEX tollgate_keys_dead ON public.tollgate_keys USING btree (dead_at) WHERE (dead_at IS NOT NULL);
CREATE INDEX tollgate_keys_issued ON public.tollgate_keys USING btree (issued_by, id) WHERE (issued_by IS NOT NULL);
CREATE INDEX tollgate_keys_of_account ON public.tollgate_keys USING btree (account, id);
CREATE INDEX tollgate_usage_batches_by_time ON public.tollgate_usage_batches USING btree (at);
CREATE INDEX tollgate_usage_days_by_start ON public.tollgate_usage_days USING btree (start);
CREATE INDEX tollgate_usage_hours_by_start ON public.tollgate_usage_hours USING btree (start);
CREATE INDEX tollgate_usage_minutes_by_start ON public.tollgate_usage_minutes USING btree (start);
CREATE INDEX tollgate_usage_months_by_start ON public.tollgate_usage_months USING btree (start);
CREATE INDEX tollgate_usage_series_of_account ON public.tollgate_usage_series USING btree (account);
CREATE INDEX tollgate_usage_series_of_key ON public.tollgate_usage_series USING btree (key);
CREATE INDEX tollgate_usage_series_of_rule ON public.tollgate_usage_series USING btree (rule);
ALTER TABLE ONLY public.tollgate_hashes
    ADD CONSTRAINT tollgate_hashes_key_fkey FOREIGN KEY (key) REFERENCES public.tollgate_keys(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.tollgate_keys
    ADD CONSTRAINT tollgate_keys_account_fkey FOREIGN KEY (account) REFERENCES public.tollgate_accounts(id) ON DELETE CASCADE;
