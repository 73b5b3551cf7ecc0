-- name: insert_setting (keeps what is there)
INSERT INTO setting (name, value) VALUES (%(name)s, %(value)s) ON CONFLICT (name) DO NOTHING;

-- name: fetch_setting
SELECT value FROM setting WHERE name = %(name)s;
