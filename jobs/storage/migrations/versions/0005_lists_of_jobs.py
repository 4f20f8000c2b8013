"""An account's jobs of one status, by the time of acceptance."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = [
    """
CREATE INDEX jobs_of_account ON jobs (account_id, status, created_at, id)
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
