"""How a process knows that it keeps its files where the others do: PostgreSQL has a token, and so has a file there.

It does not say what to do where they differ.
"""

from uuid import uuid4

from jobs.errors import NotFound
from jobs.storage.database import Database, queries
from jobs.storage.files import Files

TOKEN_FILE = "installation"


async def token_missing_in(files: Files, database: Database) -> str | None:
    """None where this is the place of the installation; else what the file TOKEN_FILE there would have to hold.

    Raises Unavailable or OSError where the place cannot be written."""
    async with database.transaction() as connection:
        # Who comes first makes the place the installation's, with what it holds from before.
        new = await queries.add_files_token(connection, token=await _token_in(files) or uuid4().hex)
        token: str = new or await queries.files_token(connection)
        if not new and await _token_in(files) != token:
            return token
        # Before the commit, for which the others wait; and at each start, because it shows that one may write here.
        await files.put(TOKEN_FILE, token.encode())
    return None


async def _token_in(files: Files) -> str | None:
    try:
        return (await files.get(TOKEN_FILE)).decode(errors="replace").strip()
    except NotFound:
        return None
