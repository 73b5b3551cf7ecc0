-- Watchers of assets (ADR 56), runs of partitions (ADR 57), and an event of an asset in the one form that tasks are told it in.

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

CREATE VIEW asset_event_facts AS
SELECT e.id, e.timestamp, a.name, a.uri, a.group_name AS "group", a.extra::text AS asset_extra, e.extra::text AS extra,
       e.source_dag_id, e.source_run_id, e.source_task_id,
       CASE WHEN e.source_task_id IS NOT NULL THEN e.source_map_index END AS source_map_index,
       ARRAY(SELECT l.name FROM asset_event_alias v JOIN asset_alias l ON l.id = v.alias_id
             WHERE v.event_id = e.id ORDER BY 1) AS aliases, e.partition_key, a.is_active
FROM asset_event e JOIN asset a ON a.id = e.asset_id;
COMMENT ON VIEW asset_event_facts IS 'contract.asset_spec.AssetEventFacts, and whether the asset is active.';

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
