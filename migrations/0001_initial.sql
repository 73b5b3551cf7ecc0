-- Leoflow's facts. States are text with CHECKs (adding one is a cheap migration); NULL state of a task instance is
-- Airflow's "none". Times are timestamptz, always given as parameters, never now().

CREATE TABLE setting (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);
COMMENT ON TABLE setting IS 'Secrets of this installation, made at first start: jwt_secret, try_token_secret, host_token.';

CREATE TABLE leadership (
    singleton    boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    term         bigint NOT NULL DEFAULT 0,
    holder       text NOT NULL DEFAULT '',
    heartbeat_at timestamptz
);
INSERT INTO leadership DEFAULT VALUES;
COMMENT ON TABLE leadership IS 'The term grows with each new leader; scheduler writes lock the row and compare it.';

CREATE TABLE app_user (
    username      text PRIMARY KEY,
    password_hash text NOT NULL,
    role          text NOT NULL CHECK (role IN ('Admin', 'Op', 'User', 'Viewer')),
    created_at    timestamptz NOT NULL,
    sessions_valid_from timestamptz NOT NULL
);
COMMENT ON COLUMN app_user.sessions_valid_from IS 'Tokens issued before it are refused; a new password moves it.';

CREATE TABLE revoked_token (
    jti        text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

CREATE TABLE dag (
    dag_id               text PRIMARY KEY,
    current_version_id   uuid,
    is_paused            boolean NOT NULL DEFAULT false,
    is_stale             boolean NOT NULL DEFAULT false,
    bundle_name          text NOT NULL DEFAULT 'workspace',
    fileloc              text NOT NULL DEFAULT '',
    relative_fileloc     text NOT NULL DEFAULT '',
    last_parsed_at       timestamptz,
    last_parse_duration_s double precision,
    last_expired_at      timestamptz,
    -- copied from the current version, for lists, filters and ordering
    dag_display_name     text NOT NULL,
    description          text,
    tags                 text[] NOT NULL DEFAULT '{}',
    owners               text[] NOT NULL DEFAULT '{}',
    timetable_summary    text,
    timetable_description text,
    max_active_runs      integer NOT NULL DEFAULT 16,
    max_active_tasks     integer NOT NULL DEFAULT 16,
    max_consecutive_failed_dag_runs integer NOT NULL DEFAULT 0,
    -- what the timetable does next; NULL run_after = nothing is due
    next_logical_date         timestamptz,
    next_data_interval_start  timestamptz,
    next_data_interval_end    timestamptz,
    next_run_after            timestamptz,
    created_at           timestamptz NOT NULL
);
CREATE INDEX dag_due ON dag (next_run_after) WHERE next_run_after IS NOT NULL AND NOT is_paused AND NOT is_stale;
COMMENT ON COLUMN dag.is_stale IS 'Its project is gone from the workspace (or it was deregistered); history stays.';

CREATE TABLE dag_version (
    id             uuid PRIMARY KEY,
    dag_id         text NOT NULL REFERENCES dag ON DELETE CASCADE,
    version_number integer NOT NULL CHECK (version_number >= 1),
    digest         text NOT NULL,
    spec           jsonb NOT NULL,
    source         text NOT NULL DEFAULT '',
    bundle_digest  text NOT NULL DEFAULT '',
    label          text NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL,
    UNIQUE (dag_id, version_number),
    UNIQUE (dag_id, digest)
);
ALTER TABLE dag ADD FOREIGN KEY (current_version_id) REFERENCES dag_version DEFERRABLE INITIALLY DEFERRED;
COMMENT ON COLUMN dag_version.spec IS 'The artifact (contract.dag_spec.DagSpec) without its source text, which has its own column.';

CREATE TABLE dag_run (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id              text NOT NULL REFERENCES dag ON DELETE CASCADE,
    run_id              text NOT NULL CHECK (run_id <> ''),
    dag_version_id      uuid NOT NULL REFERENCES dag_version DEFERRABLE INITIALLY DEFERRED,
    run_type            text NOT NULL CHECK (run_type IN ('manual', 'scheduled', 'backfill', 'asset_triggered', 'asset_materialization')),
    state               text NOT NULL CHECK (state IN ('queued', 'running', 'success', 'failed')),
    logical_date        timestamptz,
    data_interval_start timestamptz,
    data_interval_end   timestamptz,
    run_after           timestamptz NOT NULL,
    queued_at           timestamptz,
    start_date          timestamptz,
    end_date            timestamptz,
    last_scheduling_decision timestamptz,
    conf                jsonb NOT NULL DEFAULT '{}',
    triggered_by        text CHECK (triggered_by IN ('cli', 'operator', 'rest_api', 'ui', 'test', 'timetable', 'asset', 'backfill')),
    triggering_user_name text,
    note                text,
    because             text,
    revision            integer NOT NULL DEFAULT 0,
    updated_at          timestamptz NOT NULL,
    UNIQUE (dag_id, run_id),
    UNIQUE (dag_id, logical_date),
    CHECK ((data_interval_start IS NULL) = (data_interval_end IS NULL)),
    CHECK (state IN ('queued', 'running') OR end_date IS NOT NULL)
);
CREATE INDEX dag_run_active ON dag_run (dag_id, run_after) WHERE state IN ('queued', 'running');
CREATE INDEX dag_run_recent ON dag_run (dag_id, run_after DESC, id DESC);
CREATE INDEX dag_run_by_run_after ON dag_run (run_after DESC, id DESC);
CREATE INDEX dag_run_by_start ON dag_run (start_date);
COMMENT ON COLUMN dag_run.revision IS
    'Grows with every write that does not come from the scheduler (clear, mark, delete); the scheduler''s cached view of the run is valid for one revision.';

CREATE TABLE task_instance (
    dag_run_id     bigint NOT NULL REFERENCES dag_run ON DELETE CASCADE,
    task_id        text NOT NULL,
    map_index      integer NOT NULL DEFAULT -1 CHECK (map_index >= -1),
    id             uuid NOT NULL UNIQUE,
    dag_version_id uuid NOT NULL REFERENCES dag_version DEFERRABLE INITIALLY DEFERRED,
    state          text CHECK (state IN ('scheduled', 'queued', 'running', 'success', 'failed', 'skipped', 'upstream_failed',
                                         'up_for_retry', 'up_for_reschedule', 'deferred', 'restarting', 'removed')),
    try_number     integer NOT NULL DEFAULT 0 CHECK (try_number >= 0),
    max_tries      integer NOT NULL DEFAULT 0 CHECK (max_tries >= 0),
    infra_faults   integer NOT NULL DEFAULT 0 CHECK (infra_faults >= 0),
    operator       text NOT NULL,
    operator_name  text NOT NULL,
    task_display_name text NOT NULL,
    pool           text NOT NULL DEFAULT 'default_pool',
    pool_slots     integer NOT NULL DEFAULT 1 CHECK (pool_slots >= 1),
    queue          text NOT NULL DEFAULT 'default',
    priority_weight integer NOT NULL DEFAULT 1,
    scheduled_at   timestamptz,
    queued_at      timestamptz,
    start_date     timestamptz,
    end_date       timestamptz,
    due_at         timestamptz,
    hostname       text,
    unixname       text,
    pid            integer,
    executor       text,
    because        text,
    rendered_fields jsonb,
    rendered_map_index text,
    note           text,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (dag_run_id, task_id, map_index),
    CHECK (state IS DISTINCT FROM 'running' OR start_date IS NOT NULL),
    CHECK (state NOT IN ('queued', 'running') OR try_number >= 1),
    CHECK ((state IN ('up_for_retry', 'up_for_reschedule')) IS NOT TRUE OR due_at IS NOT NULL)
);
CREATE INDEX task_instance_live ON task_instance (pool) WHERE state IN ('queued', 'running', 'restarting');
CREATE INDEX task_instance_state ON task_instance (state, start_date) WHERE state IS NOT NULL;
CREATE INDEX task_instance_by_start ON task_instance (start_date);
COMMENT ON COLUMN task_instance.id IS 'New for every try: the fencing token. A write naming an old id matches no row.';
COMMENT ON COLUMN task_instance.max_tries IS 'Airflow''s meaning: retries allowed after the first try; clear and infrastructure faults raise it.';
COMMENT ON COLUMN task_instance.due_at IS 'When up_for_retry / up_for_reschedule ends (UTC).';
COMMENT ON COLUMN task_instance.because IS 'Why it is in its state, one sentence, shown in the UI and by `leoflow explain`.';

CREATE TABLE task_instance_history (
    id             uuid PRIMARY KEY,
    dag_run_id     bigint NOT NULL REFERENCES dag_run ON DELETE CASCADE,
    task_id        text NOT NULL,
    map_index      integer NOT NULL,
    dag_version_id uuid NOT NULL REFERENCES dag_version DEFERRABLE INITIALLY DEFERRED,
    state          text,
    try_number     integer NOT NULL,
    max_tries      integer NOT NULL,
    operator       text NOT NULL,
    operator_name  text NOT NULL,
    task_display_name text NOT NULL,
    pool           text NOT NULL,
    pool_slots     integer NOT NULL,
    queue          text NOT NULL,
    priority_weight integer NOT NULL,
    scheduled_at   timestamptz,
    queued_at      timestamptz,
    start_date     timestamptz,
    end_date       timestamptz,
    hostname       text,
    unixname       text,
    pid            integer,
    executor       text,
    because        text,
    UNIQUE (dag_run_id, task_id, map_index, try_number)
);
COMMENT ON TABLE task_instance_history IS 'Tries that ended and were followed by another (retry, clear); the current one is in task_instance.';

CREATE TABLE xcom (
    dag_run_id bigint NOT NULL REFERENCES dag_run ON DELETE CASCADE,
    task_id    text NOT NULL,
    map_index  integer NOT NULL DEFAULT -1,
    key        text NOT NULL CHECK (key <> '' AND length(key) <= 512),
    value      jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (dag_run_id, task_id, map_index, key)
);

CREATE TABLE pool (
    name        text PRIMARY KEY,
    slots       integer NOT NULL CHECK (slots >= -1),
    description text,
    include_deferred boolean NOT NULL DEFAULT false
);
INSERT INTO pool (name, slots, description) VALUES ('default_pool', 128, 'Default pool');
COMMENT ON COLUMN pool.slots IS '-1 = no limit, as in Airflow.';

CREATE TABLE import_error (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    filename    text NOT NULL,
    bundle_name text NOT NULL,
    stack_trace text NOT NULL,
    occurred_at timestamptz NOT NULL,
    UNIQUE (bundle_name, filename)
);

CREATE TABLE dag_favorite (
    username text NOT NULL REFERENCES app_user ON DELETE CASCADE,
    dag_id   text NOT NULL REFERENCES dag ON DELETE CASCADE,
    PRIMARY KEY (username, dag_id)
);

CREATE TABLE event_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at timestamptz NOT NULL,
    event       text NOT NULL,
    owner       text,
    dag_id      text,
    run_id      text,
    task_id     text,
    map_index   integer,
    try_number  integer,
    logical_date timestamptz,
    extra       jsonb
);
CREATE INDEX event_log_by_dag ON event_log (dag_id, occurred_at DESC);
CREATE INDEX event_log_by_time ON event_log (occurred_at DESC);
