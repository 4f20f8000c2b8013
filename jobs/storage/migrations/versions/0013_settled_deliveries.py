"""Deliveries that are settled have an age, by which they are forgotten, and room for a claim beside each row."""

from alembic import op

revision = "0013"
down_revision = "0012"

STATEMENTS = [
    """
-- A claim that fits beside its row touches no index.
ALTER TABLE deliveries SET (fillfactor = 70)
""",
    """
UPDATE deliveries SET settled_at = now() WHERE state <> 'PENDING' AND settled_at IS NULL
""",
    """
CREATE INDEX deliveries_settled ON deliveries (settled_at) WHERE state <> 'PENDING'
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
