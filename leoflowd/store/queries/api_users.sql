-- name: fetch_user
SELECT u.username, u.password_hash, u.role, u.created_at, u.sessions_valid_from, u.disabled_at,
       EXISTS (SELECT FROM oidc_identity i WHERE i.username = u.username) AS is_federated,
       u.role = 'Admin'
       OR EXISTS (SELECT FROM user_role m WHERE m.username = u.username AND m.role = 'Admin') AS is_admin
FROM app_user u WHERE u.username = %(username)s;

-- name: fetch_session
-- Every authenticated request, and all that decides about it: primary keys of app_user and revoked_token, then user_access.
SELECT username, roles, grants, sessions_valid_from, is_disabled,
       EXISTS (SELECT FROM revoked_token WHERE jti = %(jti)s) AS is_revoked
FROM user_access WHERE username = %(username)s;

-- name: insert_user
INSERT INTO app_user (username, password_hash, role, created_at, sessions_valid_from)
VALUES (%(username)s, %(password_hash)s, %(role)s, %(now)s, %(now)s)
ON CONFLICT DO NOTHING;

-- name: fetch_has_users
SELECT EXISTS (SELECT FROM app_user);

-- name: mark_admin
UPDATE app_user SET role = 'Admin', disabled_at = NULL WHERE username = %(username)s;

-- name: mark_password
UPDATE app_user SET password_hash = %(password_hash)s, sessions_valid_from = %(now)s
WHERE username = %(username)s AND NOT EXISTS (SELECT FROM oidc_identity i WHERE i.username = %(username)s);

-- name: insert_revoked_token
INSERT INTO revoked_token (jti, expires_at) VALUES (%(jti)s, %(expires_at)s) ON CONFLICT (jti) DO NOTHING;

-- name: delete_expired_revocations
DELETE FROM revoked_token WHERE expires_at < %(now)s;

-- name: list_users (all, or one; primary keys)
SELECT u.username, a.roles, ARRAY(SELECT m.team FROM team_member m WHERE m.username = u.username ORDER BY m.team) AS teams,
       u.disabled_at IS NOT NULL AS is_disabled, u.created_at
FROM app_user u
CROSS JOIN LATERAL (SELECT ARRAY[u.role] || ARRAY(
    SELECT m.role FROM user_role m WHERE m.username = u.username ORDER BY m.role) AS roles) a
WHERE %(username)s::text IS NULL OR u.username = %(username)s ORDER BY lower(u.username);

-- name: list_teams_of_user
SELECT team FROM team_member WHERE username = %(username)s ORDER BY team;

-- name: lock_users (one at a time decides who is left; readers, logins and access tokens go on)
LOCK TABLE app_user IN SHARE ROW EXCLUSIVE MODE;

-- name: fetch_has_admin (after a change, in its transaction)
SELECT EXISTS (
    SELECT FROM app_user u WHERE u.disabled_at IS NULL
    AND (u.role = 'Admin' OR EXISTS (SELECT FROM user_role m WHERE m.username = u.username AND m.role = 'Admin')));

-- name: mark_role
UPDATE app_user SET role = %(role)s WHERE username = %(username)s;

-- name: delete_further_roles
DELETE FROM user_role WHERE username = %(username)s;

-- name: insert_further_roles
INSERT INTO user_role (username, role) SELECT %(username)s, unnest(%(roles)s::text[]);

-- name: mark_disabled (its sessions and personal tokens end for good, also when it is enabled again)
UPDATE app_user SET disabled_at = %(now)s, sessions_valid_from = %(now)s
WHERE username = %(username)s AND disabled_at IS NULL;

-- name: mark_enabled
UPDATE app_user SET disabled_at = NULL WHERE username = %(username)s;

-- name: delete_user (with favorites, access tokens, memberships)
DELETE FROM app_user WHERE username = %(username)s;
