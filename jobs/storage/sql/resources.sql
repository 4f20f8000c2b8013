-- name: add_upload(id, account_id, lifetime)!
INSERT INTO resources (id, account_id, expires_at) VALUES (:id, :account_id, now() + :lifetime::interval);

-- name: store_upload(key, format, width, height, id)^
UPDATE resources SET key = :key, format = :format, width = :width, height = :height, stored_at = now()
WHERE id = :id AND job_id IS NULL AND (stored_at IS NULL OR key = :key) AND (expires_at IS NULL OR expires_at > now())
RETURNING id;

-- name: stored_resource(id)^
SELECT * FROM resources WHERE id = :id AND stored_at IS NOT NULL AND (expires_at IS NULL OR expires_at > now());

-- name: stored_resource_of_account(id, account_id)^
SELECT * FROM resources
WHERE id = :id AND account_id = :account_id
  AND stored_at IS NOT NULL AND (expires_at IS NULL OR expires_at > now());
