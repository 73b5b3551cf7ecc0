-- Access tokens of people and of services (ADR 80), and versions that get a share of the new runs (ADR 81). Older releases
-- leave both alone: their runs are of the current version.

CREATE TABLE access_token (
    id           uuid PRIMARY KEY,
    name         text NOT NULL CHECK (name <> ''),
    username     text REFERENCES app_user ON DELETE CASCADE,
    secret_hash  bytea NOT NULL UNIQUE,
    rights       text NOT NULL CHECK (rights IN ('read', 'run', 'deploy', 'operate', 'admin')),
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE UNIQUE INDEX access_token_by_name ON access_token (coalesce(username, ''), name);
COMMENT ON COLUMN access_token.username IS 'Whose personal token it is, and whose rights bound it; NULL: a service''s.';
COMMENT ON COLUMN access_token.secret_hash IS 'SHA-256 of the whole token, which has 178 random bits; the token itself is stored nowhere.';

CREATE TABLE canary (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id         text NOT NULL REFERENCES dag ON DELETE CASCADE,
    dag_version_id uuid NOT NULL REFERENCES dag_version DEFERRABLE INITIALLY DEFERRED,
    share          integer NOT NULL CHECK (share BETWEEN 1 AND 99),
    rollback_above integer NOT NULL CHECK (rollback_above BETWEEN 0 AND 99),
    judged_after   integer NOT NULL CHECK (judged_after >= 1),
    started_by     text NOT NULL,
    started_at     timestamptz NOT NULL,
    outcome        text CHECK (outcome IN ('promoted', 'rolled_back', 'replaced')),
    because        text,
    ended_at       timestamptz,
    CHECK ((outcome IS NULL) = (ended_at IS NULL))
);
CREATE UNIQUE INDEX canary_live ON canary (dag_id) WHERE ended_at IS NULL;
CREATE INDEX canary_of_dag ON canary (dag_id, id);
COMMENT ON COLUMN canary.share IS 'Percent of the new runs; rollback_above: percent of its ended runs that may fail.';
COMMENT ON COLUMN canary.judged_after IS 'Ended runs before the first judgement.';

CREATE TABLE canary_run (
    canary_id  bigint NOT NULL REFERENCES canary ON DELETE CASCADE,
    dag_run_id bigint NOT NULL REFERENCES dag_run ON DELETE CASCADE,
    PRIMARY KEY (canary_id, dag_run_id)
);
CREATE INDEX canary_run_of_run ON canary_run (dag_run_id);
