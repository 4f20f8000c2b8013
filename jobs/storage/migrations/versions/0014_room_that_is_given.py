"""Jobs that were given their account's room and wait for their claim: they count against it."""

from alembic import op

revision = "0014"
down_revision = "0013"

STATEMENTS = [
    """
-- The attempt that the job had when it was given room: once it is claimed it has another.
ALTER TABLE jobs ADD COLUMN unparked_attempt integer
""",
    """
CREATE INDEX jobs_unparked ON jobs (account_id)
WHERE status = 'WAITING' AND parked_at IS NULL AND unparked_attempt = attempt
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
