-- name: insert_reports (one statement for all that waits; the hint goes with the commit)
INSERT INTO report (body, reported_at) SELECT body::json, %(now)s FROM unnest(%(bodies)s::text[]) WITH ORDINALITY AS u(body, place)
ORDER BY place;

-- name: list_reports (primary key)
SELECT id, body::text AS body FROM report WHERE id > %(after)s ORDER BY id LIMIT %(at_most)s;

-- name: fetch_has_end (before a try is taken for lost; as many rows as the leader has not decided yet)
SELECT EXISTS (SELECT FROM report WHERE body ->> 'type' = 'TryEnded' AND body -> 'row' ->> 'id' = %(try_id)s);

-- name: delete_reports
DELETE FROM report WHERE id = ANY (%(ids)s);
