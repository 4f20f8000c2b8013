-- name: events_after(job_ids, afters)
-- Of each job, its events with a higher id than the one beside it.
SELECT job_events.* FROM unnest(:job_ids::bigint[], :afters::bigint[]) AS asked (job_id, after)
JOIN job_events ON job_events.job_id = asked.job_id AND job_events.id > asked.after
ORDER BY job_events.id;

-- name: since_started(job_ids, attempts)
SELECT job_id, attempt, extract(epoch FROM clock_timestamp() - created_at)::double precision AS seconds
FROM job_events JOIN unnest(:job_ids::bigint[], :attempts::integer[]) AS asked (job_id, attempt) USING (job_id, attempt)
WHERE kind = 'STARTED';
