-- name: columns
-- One JobResponse for each daemon that was heard lately; an id that stays the same, since ours are texts.
('x' || substr(md5(r.id), 1, 8))::bit(32)::bigint AS id, NULL AS dag_id, NULL AS dag_display_name,
r.state, 'SchedulerJob' AS job_type, r.started_at AS start_date,
CASE WHEN r.state = 'failed' THEN r.heard_at END AS end_date, r.heard_at AS latest_heartbeat,
NULL AS executor_class, r.name AS hostname, NULL AS unixname

-- name: source
FROM (SELECT id, name, started_at, heard_at, CASE WHEN heard_at >= %(alive_since)s THEN 'running' ELSE 'failed' END AS state FROM replica) r

-- name: filters
(%(is_alive)s::bool IS NULL OR %(is_alive)s = (r.state = 'running'))
AND (%(job_state)s::text IS NULL OR r.state = %(job_state)s)
AND (%(job_type)s::text IS NULL OR %(job_type)s = 'SchedulerJob')
AND (%(hostname)s::text IS NULL OR r.name = %(hostname)s)
AND (%(executor_class)s::text IS NULL OR %(executor_class)s = '')
AND (%(start_date_gte)s::timestamptz IS NULL OR r.started_at >= %(start_date_gte)s)
AND (%(start_date_gt)s::timestamptz IS NULL OR r.started_at > %(start_date_gt)s)
AND (%(start_date_lte)s::timestamptz IS NULL OR r.started_at <= %(start_date_lte)s)
AND (%(start_date_lt)s::timestamptz IS NULL OR r.started_at < %(start_date_lt)s)
AND (%(end_date_gte)s::timestamptz IS NULL OR (r.state = 'failed' AND r.heard_at >= %(end_date_gte)s))
AND (%(end_date_gt)s::timestamptz IS NULL OR (r.state = 'failed' AND r.heard_at > %(end_date_gt)s))
AND (%(end_date_lte)s::timestamptz IS NULL OR (r.state = 'failed' AND r.heard_at <= %(end_date_lte)s))
AND (%(end_date_lt)s::timestamptz IS NULL OR (r.state = 'failed' AND r.heard_at < %(end_date_lt)s))
