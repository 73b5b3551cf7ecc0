-- name: list_roles (all, or one)
SELECT r.name, r.is_built_in, r.description,
       coalesce((SELECT jsonb_agg(jsonb_build_object('rights', g.rights, 'kind', g.kind, 'name', g.name) ORDER BY g.rights, g.kind, g.name)
                 FROM role_grant g WHERE g.role = r.name), '[]') AS grants,
       (SELECT count(*) FROM app_user u WHERE u.role = r.name
        OR EXISTS (SELECT FROM user_role m WHERE m.username = u.username AND m.role = r.name)) AS user_count
FROM role r WHERE %(name)s::text IS NULL OR r.name = %(name)s ORDER BY r.is_built_in DESC, r.name;

-- name: insert_role
INSERT INTO role (name, description, created_at) VALUES (%(name)s, %(description)s, %(now)s) ON CONFLICT DO NOTHING;

-- name: lock_role (before its grants are replaced)
SELECT is_built_in FROM role WHERE name = %(name)s FOR UPDATE;

-- name: mark_description
UPDATE role SET description = %(description)s WHERE name = %(name)s;

-- name: delete_grants
DELETE FROM role_grant WHERE role = %(role)s;

-- name: insert_grants
INSERT INTO role_grant (role, rights, kind, name)
SELECT %(role)s, * FROM unnest(%(rights)s::text[], %(kinds)s::text[], %(names)s::text[]) ON CONFLICT DO NOTHING;

-- name: delete_role
DELETE FROM role WHERE name = %(name)s;

-- name: list_teams (all, or one)
SELECT t.name, ARRAY(SELECT m.username FROM team_member m WHERE m.team = t.name ORDER BY m.username) AS members,
       ARRAY(SELECT d.pattern FROM team_dag d WHERE d.team = t.name ORDER BY d.pattern) AS dags, t.created_at
FROM team t WHERE %(name)s::text IS NULL OR t.name = %(name)s ORDER BY t.name;

-- name: list_team_names
SELECT name FROM team ORDER BY name;

-- name: insert_team
INSERT INTO team (name, created_at) VALUES (%(name)s, %(now)s) ON CONFLICT DO NOTHING;

-- name: lock_team
SELECT name FROM team WHERE name = %(name)s FOR UPDATE;

-- name: insert_members
INSERT INTO team_member (team, username) SELECT %(team)s, unnest(%(usernames)s::text[]) ON CONFLICT DO NOTHING;

-- name: delete_members
DELETE FROM team_member WHERE team = %(team)s AND username = ANY (%(usernames)s);

-- name: insert_dags
INSERT INTO team_dag (team, pattern) SELECT %(team)s, unnest(%(patterns)s::text[]) ON CONFLICT DO NOTHING;

-- name: delete_dags
DELETE FROM team_dag WHERE team = %(team)s AND pattern = ANY (%(patterns)s);

-- name: delete_team
DELETE FROM team WHERE name = %(name)s;
