"""Servers that outlived their owner, found by the socket on which they listen. It trusts no pid file.

They are ended and not taken over: an orphan would outlive its new owner too, and has the old owner's settings.
"""

import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import structlog

from embedded.errors import FolderInUse

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.02
CONNECT_ALLOWANCE_S = 5


def stop_orphan(socket_file: Path, stop_signal: signal.Signals, allowance: timedelta) -> None:
    """End whoever listens on the socket, by force when the allowance has passed.

    Only the holder of the folder's lock may call it: to anyone else the listener is no orphan.
    Raises FolderInUse if it cannot be ended, as when it runs in another container.
    """
    for number in (stop_signal, signal.SIGKILL):
        process_id = listener_id(socket_file)
        if process_id is None:
            return
        log.warning("embedded_orphan_signalled", process_id=process_id, signal=number.name)
        _signal(process_id, number, socket_file)
        _wait_until_silent(socket_file, allowance)
    if (process_id := listener_id(socket_file)) is not None:
        raise FolderInUse(socket_file.parent, process_id)


def listener_id(socket_file: Path) -> int | None:
    """The process that listens on a unix socket; 0 if this one cannot see it; None if nobody listens.

    The kernel noted it at listen(), so unlike a pid file it never names a stranger who was given the number since.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_ALLOWANCE_S)
        try:
            connection.connect(str(socket_file))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return _peer_id(connection)


def _peer_id(connection: socket.socket) -> int:
    if sys.platform == "linux":
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])
    return connection.getsockopt(0, 2)  # SOL_LOCAL, LOCAL_PEERPID: macOS, sys/un.h


def _signal(process_id: int, number: signal.Signals, socket_file: Path) -> None:
    if process_id <= 0:
        # To the kernel this would mean our own process group.
        raise FolderInUse(socket_file.parent, None)
    with suppress(ProcessLookupError):
        os.kill(process_id, number)


def _wait_until_silent(socket_file: Path, allowance: timedelta) -> None:
    deadline = time.monotonic() + allowance.total_seconds()
    while listener_id(socket_file) is not None and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
