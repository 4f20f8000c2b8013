"""The token of the place in which the installation keeps its files."""

from alembic import op

revision = "0017"
down_revision = "0016"

STATEMENTS = [
    """
    CREATE TABLE installation (
        is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
        files_token text NOT NULL
    )
    """
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
