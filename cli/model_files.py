"""Weights that come into the models folder: from a file, a folder or an address. It knows no catalogue."""

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from jobs.errors import DarkroomError

# Without a byte for so long, a download is given up.
SILENT_S = 60
CHUNK_BYTES = 2**20


class NotBrought(DarkroomError):
    """The weights could not be brought into the models folder."""


def is_address(source: str) -> bool:
    return urlsplit(source).scheme in ("http", "https")


def bring(source: str, folder: Path, sha256: str) -> Path:
    """Where the weights lie then: what is in the folder stays where it is. Raises NotBrought."""
    if is_address(source):
        return _downloaded(source, folder, sha256)
    path = Path(source).absolute()
    if not path.exists():
        raise NotBrought(f"{source} does not exist")
    if path.is_relative_to(folder.absolute()):
        return path
    with _new_place(folder, path.name) as place:
        if path.is_dir():
            shutil.copytree(path, place)
        else:
            shutil.copyfile(path, place)
    return folder.absolute() / path.name


def take_away(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _downloaded(address: str, folder: Path, sha256: str) -> Path:
    name = Path(unquote(urlsplit(address).path)).name
    if not name:
        raise NotBrought(f"{address} names no file")
    with _new_place(folder, name) as place:
        try:
            found = _fetch(address, place)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            raise NotBrought(f"cannot download {address}: {error}") from error
        if found != sha256:
            raise NotBrought(f"what {address} sends has the sha256 {found}, not {sha256}")
    return folder.absolute() / name


def _fetch(address: str, place: Path) -> str:
    digest = hashlib.sha256()
    request = urllib.request.Request(address, headers={"User-Agent": "darkroom"})
    with urllib.request.urlopen(request, timeout=SILENT_S) as answer, place.open("wb") as file:
        length = answer.headers.get("Content-Length")
        while chunk := answer.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        if length is not None and file.tell() != int(length):
            raise NotBrought(f"{address} broke off after {file.tell()} of {length} bytes")
    return digest.hexdigest()


@contextmanager
def _new_place(folder: Path, name: str) -> Iterator[Path]:
    """A place beside `name` that takes its name when all went well, and is cleared away when not."""
    folder.mkdir(parents=True, exist_ok=True)
    final, place = folder.absolute() / name, folder.absolute() / f".{name}.part"
    if final.exists():
        raise NotBrought(f"{final} exists already; name it to add it as it is")
    try:
        yield place
        os.replace(place, final)
    finally:
        if place.exists():
            take_away(place)
