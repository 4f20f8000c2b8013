-- name: events_after(job_ids, afters)
-- Of each job, its events with a higher id than the one beside it. Its acceptance is the row of the job itself; releases
-- before this one also wrote it here.
WITH asked AS (
    SELECT * FROM unnest(:job_ids::bigint[], :afters::bigint[]) AS asked (job_id, after)
)
SELECT -job_id AS id, job_id, 0 AS attempt, 'ACCEPTED' AS kind, NULL AS detail, created_at
FROM asked JOIN jobs ON jobs.id = job_id WHERE after < -job_id
UNION ALL
SELECT job_events.id, job_id, attempt, kind, detail, created_at
FROM asked JOIN job_events USING (job_id) WHERE job_events.id > after AND kind <> 'ACCEPTED'
ORDER BY id;

-- name: since_started(job_ids, attempts)
SELECT job_id, attempt, extract(epoch FROM clock_timestamp() - created_at)::double precision AS seconds
FROM job_events JOIN unnest(:job_ids::bigint[], :attempts::integer[]) AS asked (job_id, attempt) USING (job_id, attempt)
WHERE kind = 'STARTED';
