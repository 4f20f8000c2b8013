"""PostgreSQL from a wheel, as a child of this process. It makes no tables: that is for the migrations."""

import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import structlog

from embedded.child import Child, Program
from embedded.errors import NoServerUser, ServerFailed
from embedded.folder_lock import hold
from embedded.identity import Identity, give, unprivileged_identities
from embedded.orphan import stop_orphan
from embedded.socket_folder import private_folder, socket_folder
from embedded.wheels import postgres_binaries

log = structlog.get_logger(__name__)

USER = "app"
PORT = 5432  # It only names the socket: no address is listened on.
INITDB_ALLOWANCE = timedelta(minutes=2)
READY_ALLOWANCE = timedelta(seconds=30)  # Recovery after a kill replays the log, which a busy disk makes slow.
STOP_ALLOWANCE = timedelta(seconds=20)
PROBE_ALLOWANCE = timedelta(seconds=10)

SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "200",
    # A commit that opens a new file of the log need not wait for its 16 MB of zeros: a ninth more jobs a second.
    "wal_init_zero": "off",
    "unix_socket_permissions": "0700",
}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
# Commits still reach the kernel, so that a killed server loses nothing; a machine that loses power may.
FAST = {"fsync": "off", "synchronous_commit": "on", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A server with its data in `folder`/postgres, reached through a unix socket by this user alone.

    `fast` gives up surviving a loss of power. Start it from the main thread. Used as a context manager, or by
    start() and stop(); may be started again.
    """

    def __init__(self, folder: Path, *, fast: bool = False) -> None:
        self._folder = folder.resolve()
        self._fast = fast
        self._data = self._folder / "postgres"
        self._sockets = socket_folder(self._folder, "postgres")
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
        """A DSN for asyncpg; the same for every start on this folder."""
        return f"postgresql://{USER}@/postgres?host={quote(str(self._sockets), safe='')}&port={PORT}"

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.status is None

    def start(self) -> None:
        """Return when it takes connections. Raises EmbeddedError; what was started by then is stopped again."""
        started = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            child = self._open(opened)
            self._opened, self._child = opened.pop_all(), child
        seconds = round(time.monotonic() - started, 3)
        log.info("embedded_server_started", server="postgres", process_id=child.process_id, seconds=seconds)

    def stop(self) -> None:
        """Close its connections and return when it has ended. Does nothing if it is not running."""
        self._opened.close()

    def _open(self, opened: ExitStack) -> Child:
        opened.enter_context(hold(self._folder / "postgres.lock"))
        identity = self._choose_identity()
        opened.enter_context(private_folder(self._sockets, identity))
        stop_orphan(self._sockets / f".s.PGSQL.{PORT}", signal.SIGINT, STOP_ALLOWANCE)
        self._remove_stale_pid_files()
        self._provide_data(identity)
        return opened.enter_context(self._run(identity))

    def _choose_identity(self) -> Identity:
        """The first that runs the binaries and reaches the folder. Raises NoServerUser."""
        for identity in unprivileged_identities():
            if identity == Identity.current() or self._is_usable(identity):
                return identity
        raise NoServerUser(postgres_binaries(), self._folder)

    def _is_usable(self, identity: Identity) -> bool:
        # Tried, not computed: file modes do not tell about access lists, containers and security modules.
        try:
            with Child(self._program(identity, "postgres", "--version"), stop_allowance=PROBE_ALLOWANCE) as probe:
                probe.wait_until_done(PROBE_ALLOWANCE)
        except (ServerFailed, OSError, subprocess.SubprocessError):
            return False
        return True

    def _remove_stale_pid_files(self) -> None:
        # We hold the lock and nobody listens, so the server that wrote them is dead. PostgreSQL itself would refuse
        # to start if its number now belongs to any process of the same user, as is likely in a restarted container.
        # It still refuses while a dead server's backends use its shared memory, which it finds without these files.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        (self._sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _provide_data(self, identity: Identity) -> None:
        if not self._data.exists():
            self._initialise(identity)
        give(self._data, identity)

    def _initialise(self, identity: Identity) -> None:
        """Made aside and renamed: an initdb that is killed leaves nothing that looks like data."""
        prefix = "postgres.half-made."
        for left_over in self._folder.glob(f"{prefix}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        half_made = Path(tempfile.mkdtemp(prefix=prefix, dir=self._folder))
        give(half_made, identity)
        with Child(self._initdb(identity, half_made), stop_allowance=PROBE_ALLOWANCE) as initdb:
            initdb.wait_until_done(INITDB_ALLOWANCE)
        half_made.rename(self._data)

    def _initdb(self, identity: Identity, data: Path) -> Program:
        options = ["-D", str(data), "-U", USER, "--auth=trust", "-E", "UTF8", "--locale=C", "--no-instructions"]
        # Without a sync, fsync later would guard the changes to files that may themselves not be on the disk.
        return self._program(identity, "initdb", *options, *(["-N"] if self._fast else []))

    def _run(self, identity: Identity) -> Child:
        """Raises ServerFailed. Starts anew while the backends of a killed server are still on their way out."""
        deadline = time.monotonic() + READY_ALLOWANCE.total_seconds()
        while True:
            child = Child(self._server(identity), stop_allowance=STOP_ALLOWANCE)
            try:
                child.wait_until_ready(self._is_ready, READY_ALLOWANCE)
                return child
            except BaseException as error:
                child.stop()
                if not _is_passing(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _server(self, identity: Identity) -> Program:
        settings = SETTINGS | (FAST if self._fast else DURABLE)
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        where = ["-D", str(self._data), "-k", str(self._sockets), "-h", "", "-p", str(PORT)]
        return self._program(identity, "postgres", *where, *options)

    def _program(self, identity: Identity, binary: str, *options: str) -> Program:
        return Program(
            name=binary,
            command=[postgres_binaries() / binary, *options],
            folder=self._folder,
            log_file=self._folder / "postgres.log",
            stop_signal=signal.SIGINT,  # Fast shutdown: SIGTERM would wait for every client to leave.
            identity=identity,
        )

    def _is_ready(self) -> bool:
        question = [str(postgres_binaries() / "pg_isready"), "-q", "-d", self.url]
        return subprocess.run(question, env={"LC_ALL": "C"}, check=False).returncode == 0


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, ServerFailed) and "pre-existing shared memory block" in error.last_lines
