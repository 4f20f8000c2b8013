"""How many attempts were handed back by a worker that was asked to stop: they do not count against a job."""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = [
    """
ALTER TABLE jobs ADD COLUMN handed_back integer NOT NULL DEFAULT 0
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
