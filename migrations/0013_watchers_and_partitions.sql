-- Watchers of assets (ADR 56), and runs of partitions (ADR 57).

CREATE TABLE asset_watcher (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id     text NOT NULL REFERENCES dag ON DELETE CASCADE,
    asset_id   bigint NOT NULL REFERENCES asset,
    name       text NOT NULL CHECK (name <> ''),
    key        text NOT NULL,
    call       json NOT NULL,
    created_at timestamptz NOT NULL,
    events     bigint NOT NULL DEFAULT 0,
    fired_at   timestamptz,
    failures   integer NOT NULL DEFAULT 0,
    error      text,
    retry_at   timestamptz,
    UNIQUE (dag_id, asset_id, key, name),
    CHECK ((failures > 0) = (error IS NOT NULL AND retry_at IS NOT NULL))
);
CREATE INDEX asset_watcher_by_key ON asset_watcher (key);
CREATE INDEX asset_watcher_of_asset ON asset_watcher (asset_id);
COMMENT ON TABLE asset_watcher IS
    'What the current version of a DAG wants watched for an asset that it names. Rows with one key share one trigger.';
COMMENT ON COLUMN asset_watcher.call IS 'contract.waits.TriggerCall.';
COMMENT ON COLUMN asset_watcher.failures IS 'Of the trigger, in a row; it is started again at retry_at.';

CREATE TABLE partition_run (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id        text NOT NULL REFERENCES dag ON DELETE CASCADE,
    partition_key text NOT NULL,
    dag_run_id    bigint REFERENCES dag_run ON DELETE CASCADE,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
CREATE UNIQUE INDEX partition_run_pending ON partition_run (dag_id, partition_key) WHERE dag_run_id IS NULL;
CREATE INDEX partition_run_of_dag ON partition_run (dag_id, created_at);
CREATE INDEX partition_run_of_run ON partition_run (dag_run_id) WHERE dag_run_id IS NOT NULL;
COMMENT ON TABLE partition_run IS
    'A run of a DAG for one partition: pending until its condition is true of the events that came for the partition.';

CREATE TABLE partition_event (
    partition_run_id bigint NOT NULL REFERENCES partition_run ON DELETE CASCADE,
    event_id         bigint NOT NULL REFERENCES asset_event ON DELETE CASCADE,
    asset_id         bigint NOT NULL REFERENCES asset,
    PRIMARY KEY (partition_run_id, event_id)
);
CREATE INDEX partition_event_of_event ON partition_event (event_id);

ALTER TABLE dag ADD COLUMN is_partitioned boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN dag.is_partitioned IS 'Its timetable is one of partitions; copied from the current version.';
ALTER TABLE dag_run ADD COLUMN partition_date timestamptz;
CREATE INDEX dag_run_by_partition ON dag_run (dag_id, partition_date) WHERE partition_date IS NOT NULL;
