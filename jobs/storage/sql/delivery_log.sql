-- name: deliveries_of_job(job_id, account_id)
SELECT deliveries.* FROM deliveries JOIN jobs ON jobs.id = job_id
WHERE job_id = :job_id AND account_id = :account_id
ORDER BY deliveries.created_at, deliveries.id;

-- name: page_of_deliveries(account_id, states, created_after, created_before, before, limit)
-- Newest first. Of all accounts where :account_id is NULL. Each destination and state is read in the order of its index.
SELECT page.* FROM destinations CROSS JOIN unnest(:states::text[]) AS wanted (state)
CROSS JOIN LATERAL (
    SELECT * FROM deliveries
    WHERE destination_id = destinations.id AND deliveries.state = wanted.state
      AND created_at >= :created_after AND created_at < :created_before
      AND (:before::uuid IS NULL
        OR (created_at, deliveries.id) < (SELECT created_at, id FROM deliveries WHERE id = :before::uuid))
    ORDER BY created_at DESC, deliveries.id DESC LIMIT :limit
) AS page
WHERE :account_id::bigint IS NULL OR destinations.account_id = :account_id::bigint
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: attempts_of_deliveries(ids)
SELECT * FROM delivery_attempts WHERE delivery_id = ANY(:ids::uuid[]) ORDER BY id;

-- name: attempts_after(after, account_id, limit)
-- The newest ones, oldest of them first. Of all accounts where :account_id is NULL.
SELECT * FROM (
    SELECT delivery_attempts.*, delivery_attempts.id AS attempt_id, deliveries.job_id, kind, origin
    FROM delivery_attempts JOIN deliveries ON deliveries.id = delivery_id
    JOIN destinations ON destinations.id = destination_id
    WHERE delivery_attempts.id > :after AND (:account_id::bigint IS NULL OR account_id = :account_id::bigint)
    ORDER BY delivery_attempts.id DESC LIMIT :limit
) AS newest ORDER BY attempt_id;

-- name: delivery_of_account(id, account_id)^
SELECT deliveries.* FROM deliveries JOIN destinations ON destinations.id = destination_id
WHERE deliveries.id = :id AND (:account_id::bigint IS NULL OR account_id = :account_id::bigint);

-- name: replay_deliveries(ids, account_id, states, created_after, created_before, limit)$
-- With the id of before, so that a receiver that has it drops it; with all tries before it again. Those named by :ids,
-- or all of the period. A start or progress is not told again: its job has gone on.
WITH chosen AS (
    SELECT deliveries.id FROM deliveries JOIN destinations ON destinations.id = destination_id
    WHERE (:account_id::bigint IS NULL OR account_id = :account_id::bigint)
      AND (:ids::uuid[] IS NULL OR deliveries.id = ANY(:ids::uuid[]))
      AND deliveries.state = ANY(:states::text[]) AND kind IN ('TERMINAL', 'TEST')
      AND created_at >= :created_after AND created_at < :created_before
    ORDER BY created_at LIMIT :limit
), replayed AS (
    UPDATE deliveries SET state = 'PENDING', tries = 0, next_try_at = now(), settled_at = NULL
    FROM chosen WHERE deliveries.id = chosen.id
    RETURNING deliveries.id
)
SELECT count(*), pg_notify('deliveries', '') FROM replayed;

-- name: add_test_delivery(account_id, url)$
INSERT INTO deliveries (destination_id, url, kind)
SELECT id, :url, 'TEST' FROM destination_of(:account_id, :url) RETURNING id;

-- name: page_of_destinations(account_id, after, limit)
SELECT origin, failures, failing_since, closed_until, disabled_at FROM destinations
WHERE account_id = :account_id AND origin > :after ORDER BY origin LIMIT :limit;
