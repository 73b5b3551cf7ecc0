-- name: columns
-- One AssetEventResponse, with the runs of DAGs that may be seen. Index asset_event_run_of_event.
e.id, e.asset_id, a.uri, a.name, a.group_name AS "group", e.extra, e.source_task_id, e.source_dag_id, e.source_run_id, e.source_map_index,
(SELECT coalesce(json_agg(json_build_object('run_id', r.run_id, 'dag_id', r.dag_id, 'logical_date', r.logical_date, 'start_date', r.start_date,
     'end_date', r.end_date, 'state', r.state, 'data_interval_start', r.data_interval_start, 'data_interval_end', r.data_interval_end,
     'partition_key', r.partition_key,
     'triggering', e.id = (SELECT x.event_id FROM asset_event_run x JOIN asset_event o ON o.id = x.event_id
                           WHERE x.dag_run_id = r.id ORDER BY o.timestamp DESC, o.id DESC LIMIT 1)) ORDER BY r.id), '[]')
 FROM asset_event_run t JOIN dag_run r ON r.id = t.dag_run_id
 WHERE t.event_id = e.id AND (%(visible)s::text[] IS NULL OR r.dag_id = ANY (%(visible)s))) AS created_dagruns,
e.timestamp, e.partition_key

-- name: source
FROM asset_event e JOIN asset a ON a.id = e.asset_id

-- name: visible
(e.source_dag_id IS NULL OR e.source_dag_id = ANY (%(visible)s))
AND (NOT EXISTS (SELECT FROM asset_use u WHERE u.asset_id = a.id)
     OR EXISTS (SELECT FROM asset_use u WHERE u.asset_id = a.id AND u.dag_id = ANY (%(visible)s)))

-- name: filters
-- Of one asset: asset_event_of_asset; of one source: asset_event_of_source; else asset_event_by_time serves the UI's order.
(%(id)s::bigint IS NULL OR e.id = %(id)s)
AND (%(asset_id)s::bigint IS NULL OR e.asset_id = %(asset_id)s)
AND (%(source_dag_id)s::text IS NULL OR e.source_dag_id = %(source_dag_id)s)
AND (%(source_task_id)s::text IS NULL OR e.source_task_id = %(source_task_id)s)
AND (%(source_run_id)s::text IS NULL OR e.source_run_id = %(source_run_id)s)
AND (%(source_map_index)s::int IS NULL OR e.source_map_index = %(source_map_index)s)
AND (%(started_run)s::bigint IS NULL OR EXISTS (SELECT FROM asset_event_run t WHERE t.event_id = e.id AND t.dag_run_id = %(started_run)s))
AND (%(name_ilike)s::text[] IS NULL OR a.name ILIKE ANY (%(name_ilike)s))
AND (%(name_like)s::text[] IS NULL OR a.name LIKE ANY (%(name_like)s))
AND (%(timestamp_gte)s::timestamptz IS NULL OR e.timestamp >= %(timestamp_gte)s)
AND (%(timestamp_gt)s::timestamptz IS NULL OR e.timestamp > %(timestamp_gt)s)
AND (%(timestamp_lte)s::timestamptz IS NULL OR e.timestamp <= %(timestamp_lte)s)
AND (%(timestamp_lt)s::timestamptz IS NULL OR e.timestamp < %(timestamp_lt)s)
