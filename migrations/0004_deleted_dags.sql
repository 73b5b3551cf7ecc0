-- Somebody deleted a DAG whose file is still in the workspace: it stays deleted until its own definition changes.

CREATE TABLE deleted_dag (
    dag_id           text PRIMARY KEY,
    definition       text NOT NULL,
    bundle_name      text NOT NULL,
    relative_fileloc text NOT NULL
);
COMMENT ON COLUMN deleted_dag.definition IS 'contract.dag_spec.definition_digest of the version that was current.';
