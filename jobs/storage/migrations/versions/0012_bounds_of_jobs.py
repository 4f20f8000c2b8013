"""Jobs that must start or end within a time of their own are few, and are looked for each second."""

from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS = [
    """
CREATE INDEX jobs_bounded ON jobs (id)
WHERE status IN ('WAITING', 'RUNNING')
  AND coalesce(submission ->> 'start_within_s', submission ->> 'end_within_s') IS NOT NULL
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
