-- From where something was done, and the chain over what people and programs do through the API (ADR 86). Rows of older
-- releases, and of the scheduler, have neither.

ALTER TABLE event_log ADD COLUMN client text;
COMMENT ON COLUMN event_log.client IS 'Address of the TCP peer; NULL: not done through the API, and not in the chain.';

CREATE TABLE audit_seal (
    event_id bigint PRIMARY KEY,
    position bigint UNIQUE CHECK (position >= 1),
    key_id   text,
    seal     bytea,
    CHECK ((position IS NULL) = (seal IS NULL) AND (seal IS NULL) = (key_id IS NULL))
);
CREATE INDEX audit_seal_open ON audit_seal (event_id) WHERE position IS NULL;
COMMENT ON TABLE audit_seal IS 'A row for each of event_log with a client, written with it; no foreign key, or it would go with the row that it proves.';
COMMENT ON COLUMN audit_seal.position IS 'In the chain, from 1 without gaps, in the order of sealing; NULL: not sealed yet.';
COMMENT ON COLUMN audit_seal.key_id IS 'Of the key of stored secrets that its key comes from; empty: there was none.';
