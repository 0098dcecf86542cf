"""A server process that belongs to this process: nobody else reaches it, and it never outlives us."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

JAIL = Path(__file__).with_name("jail.py")

_STOP_SECONDS = 5.0


class OwnedServer(NamedTuple):
    """A running server."""

    target: str
    """Where it answers, as gRPC writes it."""
    process: "subprocess.Popen[bytes]"
    """The jail around it; both end together, with the same status."""


@contextlib.contextmanager
def own_server(command: Sequence[str]) -> Iterator[OwnedServer]:
    """Runs a server in a jail (see `federated.jail`) until the block ends.

    Its standard output is closed: a child that held ours would keep a pipe open after us.

    Args:
        command: program and arguments; the program must take ``--port=N``.
    """
    if threading.current_thread() is not threading.main_thread():
        # Linux sends the signal at the death of the thread that started the child.
        raise RuntimeError("own_server was called outside the main thread: the server would die with this thread")
    with socket.socket(socket.AF_UNIX) as listener:
        # An empty address makes Linux choose a free abstract name, which leaves no file behind.
        listener.bind("")
        listener.listen()
        name = listener.getsockname()[1:].decode()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(JAIL), str(os.getpid()), str(listener.fileno()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            # Ctrl-C on a terminal reaches every process of the group: ending the server is our part.
            start_new_session=True,
        )
    try:
        yield OwnedServer(f"unix-abstract:{name}", process)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
