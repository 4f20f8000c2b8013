-- name: keep_stage_output(account_id, address, canvas, kept)!
INSERT INTO stage_outputs (account_id, address, canvas, expires_at)
VALUES (:account_id, :address, :canvas::jsonb || jsonb_build_object('drawn_at', now()), now() + :kept::interval)
ON CONFLICT (account_id, address) DO UPDATE SET canvas = excluded.canvas, expires_at = excluded.expires_at;

-- name: kept_stage_outputs(kept, account_id, addresses)
-- Each that is found is kept for longer: somebody is at work with it. But not for ever: what drew it is named as well
-- as it can be, and no better. Rows of older versions do not say when they were drawn.
UPDATE stage_outputs
SET expires_at = least(now() + :kept::interval, (canvas ->> 'drawn_at')::timestamptz + 24 * :kept::interval)
WHERE account_id = :account_id AND address = ANY(:addresses::bytea[]) AND expires_at > now()
RETURNING address, canvas - 'drawn_at' AS canvas;

-- name: expired_stage_outputs(limit, after)
SELECT account_id, address FROM stage_outputs WHERE expires_at < now()
ORDER BY expires_at LIMIT :limit OFFSET :after;

-- name: forget_stage_outputs(account_ids, addresses)!
-- Unless they have been kept again since.
DELETE FROM stage_outputs USING unnest(:account_ids::bigint[], :addresses::bytea[]) AS removed (account_id, address)
WHERE stage_outputs.account_id = removed.account_id AND stage_outputs.address = removed.address AND expires_at < now();
