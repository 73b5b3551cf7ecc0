-- Airflow's list of jobs says when each began.

ALTER TABLE replica ADD COLUMN started_at timestamptz;
COMMENT ON COLUMN replica.started_at IS 'Its first beat; null of a daemon that began before this column.';
