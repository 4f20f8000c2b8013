"""Valkey, which speaks Redis's protocol, from a wheel, as a child of this process. It holds no keys of its own."""

import signal
import socket
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import structlog

from embedded.child import Child, Program
from embedded.folder_lock import hold
from embedded.identity import Identity
from embedded.orphan import stop_orphan
from embedded.socket_folder import private_folder, socket_folder
from embedded.wheels import valkey_server

log = structlog.get_logger(__name__)

READY_ALLOWANCE = timedelta(seconds=30)  # It loads its whole log before it answers.
STOP_ALLOWANCE = timedelta(seconds=10)
PING_ALLOWANCE_S = 1

# One log and no snapshots: what everysec may lose in a crash is a second, which the web process puts right.
SETTINGS = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}


class EmbeddedRedis:
    """A server with its data in `folder`/redis, reached through a unix socket by this user alone.

    Start it from the main thread. Used as a context manager, or by start() and stop(); may be started again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "redis"
        self._socket_folder = socket_folder(self._folder, "redis")
        self._socket = self._socket_folder / "redis.sock"
        self._opened = ExitStack()
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """A URL for redis-py; the same for every start on this folder."""
        return f"unix://{quote(str(self._socket))}?db=0"

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.status is None

    def start(self) -> None:
        """Return when it answers PING. Raises EmbeddedError; what was started by then is stopped again."""
        started = time.monotonic()
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as opened:
            child = self._open(opened)
            self._opened, self._child = opened.pop_all(), child
        seconds = round(time.monotonic() - started, 3)
        log.info("embedded_server_started", server="redis", process_id=child.process_id, seconds=seconds)

    def stop(self) -> None:
        """Write its log to the disk and return when it has ended. Does nothing if it is not running."""
        self._opened.close()

    def _open(self, opened: ExitStack) -> Child:
        opened.enter_context(hold(self._folder / "redis.lock"))
        opened.enter_context(private_folder(self._socket_folder, Identity.current()))
        stop_orphan(self._socket, signal.SIGTERM, STOP_ALLOWANCE)
        child = opened.enter_context(Child(self._server(), stop_allowance=STOP_ALLOWANCE))
        child.wait_until_ready(self._is_ready, READY_ALLOWANCE)
        return child

    def _server(self) -> Program:
        where = {"port": "0", "unixsocket": str(self._socket), "unixsocketperm": "700", "dir": str(self._data)}
        options = [option for name, value in (where | SETTINGS).items() for option in (f"--{name}", value)]
        return Program(
            name="valkey-server",
            command=[valkey_server(), *options],
            folder=self._folder,
            log_file=self._folder / "redis.log",
            stop_signal=signal.SIGTERM,
            identity=Identity.current(),
        )

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PING_ALLOWANCE_S)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
            except OSError:
                return False
