-- name: page_of_jobs(account_id, statuses, created_after, created_before, last_time, last_id, limit)
-- Newest first. Each status is read in the order of its index, so that a rare one is found as fast as any other.
SELECT page.* FROM unnest(:statuses::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT * FROM jobs
    WHERE account_id = :account_id AND jobs.status = wanted.status
      AND created_at >= :created_after AND created_at < :created_before
      AND (created_at, id) < (:last_time, :last_id)
    ORDER BY created_at DESC, id DESC LIMIT :limit
) AS page
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: page_of_request(account_id, request_id, statuses, created_after, created_before, last_time, last_id, limit)
-- The same of one request id, which is one job at most: here another index is the fast one.
SELECT * FROM jobs
WHERE account_id = :account_id AND request_id = :request_id AND status = ANY(:statuses::text[])
  AND created_at >= :created_after AND created_at < :created_before
  AND (created_at, id) < (:last_time, :last_id)
LIMIT :limit;
