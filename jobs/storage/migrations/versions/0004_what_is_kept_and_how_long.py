"""What is kept, and how long: lifetimes of uploads that begin with their bytes, and what the cleaner has removed."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = [
    """
-- Until its bytes have come, an upload's expires_at is that of its address; then it is kept_for from that time on.
-- NULL is for ever. removed_at: the file is gone, and the row stays because its job tells of it.
ALTER TABLE resources ADD COLUMN kept_for interval, ADD COLUMN removed_at timestamptz
""",
    """
UPDATE resources SET kept_for = interval '7 days' WHERE job_id IS NULL AND expires_at IS NOT NULL
""",
    """
CREATE INDEX resources_expiring ON resources (expires_at) WHERE removed_at IS NULL AND expires_at IS NOT NULL
""",
    """
ALTER TABLE jobs ADD COLUMN leftovers_removed_at timestamptz
""",
    """
-- Jobs of which an attempt may have stored pictures that are nobody's: all but the one that succeeded.
CREATE INDEX jobs_with_leftovers ON jobs (finished_at)
WHERE leftovers_removed_at IS NULL AND attempt > 0 AND (attempt > 1 OR status <> 'SUCCESS')
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
