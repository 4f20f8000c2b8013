"""Dispatcher processes that start at once: what takes long, the imports, is done before they are asked for.

A program: for each line on its input it forks a dispatcher, and tells its process id. They die with it.
"""

import os
import signal
import sys

from embedded.linux import die_with_parent
from webhooks.__main__ import main


def serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    own_id = os.getpid()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent(signal.SIGKILL, own_id)
            main()
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    serve()
