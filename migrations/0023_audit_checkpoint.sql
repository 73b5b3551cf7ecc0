-- Where the chain over the audit log begins, once its oldest rows were removed for their age (ADR 101).

CREATE TABLE audit_checkpoint (
    is_only        boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    position       bigint NOT NULL CHECK (position >= 1),
    seal           bytea NOT NULL,
    is_keyed       boolean NOT NULL,
    removed_before timestamptz NOT NULL,
    key_id         text NOT NULL,
    proof          bytea NOT NULL
);
COMMENT ON TABLE audit_checkpoint IS 'One row: the last removed row of the chain; none while all rows are there.';
COMMENT ON COLUMN audit_checkpoint.is_keyed IS 'Whether that row was sealed with a key.';
COMMENT ON COLUMN audit_checkpoint.proof IS 'HMAC over what is before it, with the key of key_id: whoever only writes the database cannot cut the log off.';

CREATE INDEX event_log_unsealed ON event_log (occurred_at) WHERE client IS NULL;
