"""What the order of waiting jobs is made of: what a job should take, its kind, and its weight and priority.

The order itself is Redis's.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = [
    """
ALTER TABLE accounts ADD COLUMN weight double precision NOT NULL DEFAULT 1 CHECK (weight BETWEEN 0.01 AND 100)
""",
    """
DROP INDEX jobs_waiting_order
""",
    """
DROP INDEX jobs_parked
""",
    """
ALTER TABLE jobs
    ADD COLUMN cost_s    double precision NOT NULL DEFAULT 1,
    ADD COLUMN work_kind text NOT NULL DEFAULT '',
    ADD COLUMN weight    double precision NOT NULL DEFAULT 1,
    ADD COLUMN priority  integer NOT NULL DEFAULT 0,
    DROP COLUMN score
""",
    """
CREATE INDEX jobs_parked ON jobs (account_id, id) WHERE status = 'WAITING' AND parked_at IS NOT NULL
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
