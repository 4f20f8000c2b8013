-- name: add_upload(id, account_id, open_for, kept_for)!
INSERT INTO resources (id, account_id, expires_at, kept_for)
VALUES (:id, :account_id, now() + :open_for::interval, :kept_for::interval);

-- name: may_store(id, key)$
SELECT TRUE FROM resources
WHERE id = :id AND job_id IS NULL AND (stored_at IS NULL OR key = :key) AND (expires_at IS NULL OR expires_at > now());

-- name: store_upload(key, format, width, height, id)^
-- A repeat of the first picture changes nothing, not even for how long it is kept.
UPDATE resources SET key = :key, format = :format, width = :width, height = :height,
    expires_at = CASE WHEN stored_at IS NULL THEN now() + kept_for ELSE expires_at END,
    stored_at = coalesce(stored_at, now())
WHERE id = :id AND job_id IS NULL AND (stored_at IS NULL OR key = :key) AND (expires_at IS NULL OR expires_at > now())
RETURNING id;

-- name: stored_resource(id)^
SELECT * FROM resources WHERE id = :id AND stored_at IS NOT NULL AND (expires_at IS NULL OR expires_at > now());

-- name: stored_resource_of_account(id, account_id)^
SELECT * FROM resources
WHERE id = :id AND account_id = :account_id
  AND stored_at IS NOT NULL AND (expires_at IS NULL OR expires_at > now());

-- name: sizes_of_resources(account_ids, ids)
SELECT account_id, id, width, height FROM resources
JOIN unnest(:account_ids::bigint[], :ids::uuid[]) AS asked (account_id, id) USING (account_id, id)
WHERE stored_at IS NOT NULL AND (expires_at IS NULL OR expires_at > now());

-- name: input_of_account(id, account_id)^
SELECT * FROM resources
WHERE id = :id AND account_id = :account_id AND stored_at IS NOT NULL AND removed_at IS NULL;
