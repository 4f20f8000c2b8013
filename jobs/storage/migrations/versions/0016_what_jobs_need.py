"""What a job asks of a worker: which line it stands in follows from it."""

from alembic import op

revision = "0016"
down_revision = "0015"

STATEMENTS = [
    "ALTER TABLE jobs ADD COLUMN need text NOT NULL DEFAULT ''",
    # Of those that were accepted before only the model is known here; what else they need, a worker finds out.
    "UPDATE jobs SET need = split_part(work_kind, ' ', 1) || '|' WHERE status IN ('WAITING', 'RUNNING')",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
