-- name: insert_delivery
-- own/hooks.py, for a call whose signature is right. No row when the id or the signature was seen before (primary key,
-- unique key on signature); two replicas that get it at once cannot both insert.
INSERT INTO webhook_delivery (name, delivery_id, received_at, body, signature)
VALUES (%(name)s, %(delivery_id)s, %(received_at)s, %(body)s::json, %(signature)s)
ON CONFLICT DO NOTHING;

-- name: list_deliveries
-- The probe of a webhook wait: the newest ones (index webhook_delivery_by_time), oldest first.
SELECT delivery_id, received_at, body
FROM (
    SELECT delivery_id, received_at, body
    FROM webhook_delivery
    WHERE name = %(name)s
    ORDER BY received_at DESC
    LIMIT %(limit)s
) AS newest
ORDER BY received_at, delivery_id;

-- name: delete_old_deliveries
-- A sweep; a week covers every wait that could still look for one, and any sender's repetitions.
DELETE FROM webhook_delivery WHERE received_at < %(before)s;
