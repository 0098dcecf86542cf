"""Holds a server where only its owner reaches it, and takes it along when the owner dies.

TensorFlow Federated's worker executes whatever a connection asks of it, asks nobody who they are, listens on every
interface, has no option for that, and lives on when its parent is killed. So it runs like this::

    owner ── SIGKILL at the owner's death ──> this script ── SIGKILL at the script's death ──> server
      │                                           │                                              ▲
      └── Unix socket, the owner's user only ─────┴── 127.0.0.1 of a network namespace ──────────┘

The script runs on the standard library alone: ``python -I -S jail.py OWNER_PID LISTENER_FD PROGRAM [ARGUMENT ...]``.
PROGRAM gets ``--port=N`` as its last argument. Where the system forbids namespaces, as most containers do, the server
still dies with its owner, but listens on every interface; standard error says so.

See prctl(2), unix(7), network_namespaces(7) and user_namespaces(7).
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_IFREQ = "16sh22x"
"""``struct ifreq`` as SIOCSIFFLAGS reads it: name and flags, 40 bytes in all."""
_UCRED = "iII"
"""``struct ucred``: process, user, group."""
_CHUNK_BYTES = 1 << 16
_RETRY_SECONDS = 0.02
"""How often to try a server that does not listen yet."""

_libc = ctypes.CDLL(None, use_errno=True)


def hold(owner: int, listener: socket.socket, command: list[str]) -> int:
    """Runs `command` and relays connections to it, until it ends.

    Args:
        owner: process id of the parent.
        listener: Unix socket on which the owner connects.
        command: program and arguments.

    Returns:
        The exit status, or 128 + the signal that ended the program.
    """
    _die_with(owner)
    private = _try_apart(_enter_private_network)
    if private:
        _enter_private_network()
    port = _free_port()
    if not private:
        print(
            f"warning: this system allows no private network; until training ends, port {port} is open on every "
            "interface and executes what it is sent. Close it off with a firewall if the network is not trusted.",
            file=sys.stderr,
            flush=True,
        )
    here = os.getpid()
    # No thread runs yet, so that code between fork and exec cannot meet a lock that a thread held.
    server = subprocess.Popen([*command, f"--port={port}"], preexec_fn=lambda: _die_with(here))  # noqa: PLW1509
    # Whoever ends this process waits for it, and then the server has to be gone too.
    signal.signal(signal.SIGTERM, lambda *_: server.kill())
    threading.Thread(target=_accept, args=(listener, port), daemon=True).start()
    status = server.wait()
    return status if status >= 0 else 128 - status


def _die_with(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the request was made: then no signal would ever come.
    if os.getppid() != parent:
        os._exit(1)


def _try_apart(action: Callable[[], None]) -> bool:
    """Whether `action` works, found out in a child: half a namespace could not be left again."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _enter_private_network() -> None:
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWNET) != 0:
        # Not root. A user namespace takes no privilege, and inside of it a network namespace takes none either.
        if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        # Linux wants group changes given up before it maps a group.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", _IFF_UP))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _accept(listener: socket.socket, port: int) -> None:
    while True:
        client, _ = listener.accept()
        _, user, _ = struct.unpack(
            _UCRED, client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_UCRED))
        )
        if user != os.geteuid():
            client.close()
            continue
        server = _connect(port)
        for source, target in (client, server), (server, client):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _connect(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(_RETRY_SECONDS)


def _pump(source: socket.socket, target: socket.socket) -> None:
    # Either side may leave at any moment; the other then sees the end of its stream.
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(hold(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), sys.argv[3:]))
