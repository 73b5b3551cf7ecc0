-- name: fetch_token (every request with an access token: unique index on the hash, primary key of app_user)
SELECT t.id, t.name, t.username, t.rights, t.created_at, t.expires_at, t.last_used_at, t.revoked_at, u.roles,
       u.grants, u.is_disabled, u.sessions_valid_from
FROM access_token t LEFT JOIN user_access u ON u.username = t.username WHERE t.secret_hash = %(secret_hash)s;

-- name: fetch_token_by_id (streams that go on)
SELECT t.id, t.name, t.username, t.rights, t.created_at, t.expires_at, t.last_used_at, t.revoked_at, u.roles,
       u.grants, u.is_disabled, u.sessions_valid_from
FROM access_token t LEFT JOIN user_access u ON u.username = t.username WHERE t.id = %(id)s;

-- name: mark_used (at most once a minute)
UPDATE access_token SET last_used_at = %(now)s
WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at < %(before)s);

-- name: delete_dead (of this name, and whatever has been over for long)
DELETE FROM access_token
WHERE (revoked_at IS NOT NULL OR expires_at <= %(now)s)
  AND ((coalesce(username, '') = coalesce(%(username)s::text, '') AND name = %(name)s)
       OR coalesce(revoked_at, expires_at) < %(long_dead)s);

-- name: count_tokens
SELECT count(*) FROM access_token
WHERE coalesce(username, '') = coalesce(%(username)s::text, '') AND revoked_at IS NULL AND expires_at > %(now)s;

-- name: insert_token
INSERT INTO access_token (id, name, username, secret_hash, rights, created_by, created_at, expires_at)
VALUES (%(id)s, %(name)s, %(username)s, %(secret_hash)s, %(rights)s, %(created_by)s, %(now)s, %(expires_at)s);

-- name: list_tokens
SELECT t.id, t.name, CASE WHEN t.username IS NULL THEN 'service' ELSE 'personal' END AS kind, t.username, t.rights,
       t.created_by, t.created_at, t.expires_at, t.last_used_at, t.revoked_at,
       CASE WHEN t.revoked_at IS NOT NULL OR t.created_at < u.sessions_valid_from OR u.disabled_at IS NOT NULL THEN 'revoked'
            WHEN t.expires_at <= %(now)s THEN 'expired' ELSE 'valid' END AS state
FROM access_token t LEFT JOIN app_user u ON u.username = t.username
WHERE %(username)s::text IS NULL OR t.username = %(username)s ORDER BY t.created_at DESC, t.id;

-- name: find_live (locked: two who revoke it are told one after the other)
SELECT id, name, username FROM access_token
WHERE revoked_at IS NULL AND expires_at > %(now)s AND (id::text = %(token)s OR name = %(token)s)
  AND (%(username)s::text IS NULL OR username = %(username)s)
ORDER BY id FOR UPDATE;

-- name: mark_revoked
UPDATE access_token SET revoked_at = %(now)s WHERE id = %(id)s;
