-- name: beat
INSERT INTO replica (id, name, started_at, heard_at, tries, agents)
VALUES (%(id)s, %(name)s, %(now)s, %(now)s, %(tries)s::uuid[], %(agents)s)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, beat = replica.beat + 1, heard_at = excluded.heard_at,
    tries = excluded.tries, agents = excluded.agents;

-- name: fetch_launcher (explain; primary key)
SELECT name, agents, heard_at FROM replica WHERE id = %(id)s;

-- name: list_others
SELECT id, name, beat, tries FROM replica WHERE id <> %(id)s;

-- name: delete_gone
DELETE FROM replica WHERE heard_at < %(before)s;
