"""What a job asks of a worker: which line it stands in follows from it."""

from alembic import op

revision = "0016"
down_revision = "0015"

# What was accepted before says nothing: any pool is asked, and a worker that cannot run it writes what it needs. To
# fill it in here would keep all others from the jobs for as long as it takes.
STATEMENTS = ["ALTER TABLE jobs ADD COLUMN need text NOT NULL DEFAULT ''"]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
