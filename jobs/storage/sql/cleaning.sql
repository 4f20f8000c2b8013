-- name: begin_cleaning()$
-- One cleaner at a time, in all processes; the lock ends with `end_cleaning`, or the connection.
SELECT pg_try_advisory_lock(hashtext('darkroom cleaner'));

-- name: end_cleaning()$
SELECT pg_advisory_unlock(hashtext('darkroom cleaner'));

-- name: expired_resources(grace, limit, after)
-- An expired picture may still be the beginning of a job that was accepted before: it stays until no job of its
-- account is left that was. Whose job names which picture is in the submissions; not looking there costs a picture
-- some hours more and saves reading them.
WITH unfinished AS (
    SELECT account_id, created_at FROM jobs WHERE status = 'WAITING'
    UNION ALL
    SELECT account_id, created_at FROM jobs WHERE status = 'RUNNING'
), oldest AS (
    SELECT account_id, min(created_at) AS created_at FROM unfinished GROUP BY account_id
)
SELECT id, key, job_id FROM resources LEFT JOIN oldest USING (account_id)
WHERE removed_at IS NULL AND expires_at < now() - :grace::interval
  AND (stored_at IS NULL OR oldest.created_at IS NULL OR oldest.created_at > expires_at + :grace::interval)
ORDER BY expires_at LIMIT :limit OFFSET :after;

-- name: forget_uploads(ids)!
DELETE FROM resources WHERE id = ANY(:ids::uuid[]) AND job_id IS NULL;

-- name: mark_outputs_removed(ids)!
UPDATE resources SET removed_at = now() WHERE id = ANY(:ids::uuid[]) AND job_id IS NOT NULL;

-- name: jobs_with_leftovers(grace, limit, after)
SELECT id, attempt, status FROM jobs
WHERE leftovers_removed_at IS NULL AND attempt > 0 AND (attempt > 1 OR status <> 'SUCCESS')
  AND finished_at < now() - :grace::interval
ORDER BY finished_at LIMIT :limit OFFSET :after;

-- name: mark_leftovers_removed(job_ids)!
UPDATE jobs SET leftovers_removed_at = now() WHERE id = ANY(:job_ids::bigint[]);

-- name: forget_deliveries(kept, limit)$
-- With their attempts.
WITH forgotten AS (
    DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries WHERE state <> 'PENDING' AND settled_at < now() - :kept::interval
        ORDER BY settled_at LIMIT :limit
    ) RETURNING id
), attempts AS (
    DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM forgotten)
)
SELECT count(*) FROM forgotten;

-- name: unused_destinations(limit)
-- Those that nothing is left of. What is disabled stays so. One whose delivery is being made is held, and left out; one
-- may have been made just before: so they are looked at again when they are ours.
-- The limit within keeps the planner from reading all deliveries.
SELECT id FROM destinations
WHERE disabled_at IS NULL AND (SELECT TRUE FROM deliveries WHERE destination_id = destinations.id LIMIT 1) IS NULL
LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: forget_destinations(ids)$
WITH forgotten AS (
    DELETE FROM destinations WHERE id = ANY(:ids::bigint[])
      AND (SELECT TRUE FROM deliveries WHERE destination_id = destinations.id LIMIT 1) IS NULL
    RETURNING id
)
SELECT count(*) FROM forgotten;
