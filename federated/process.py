"""A child process that never outlives its parent, not even when the parent is killed with SIGKILL.

The child is started through this very file, run as a script: it asks Linux for a SIGKILL at the parent's death
(``PR_SET_PDEATHSIG``, see prctl(2)) and then becomes the program. The request survives ``exec``. A ``preexec_fn``
would do the same in the forked copy of a process full of TensorFlow's threads, which may deadlock.

Linux ties the signal to the parent *thread*: start children from the main thread.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 2.0


def start_bound(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts a program that dies with this process.

    Its standard output is closed: a child that held ours would keep a pipe after us open.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("start_bound was called outside the main thread: the child would die with this thread")
    # -I and -S: the launcher needs the standard library only, and starts three times faster.
    launcher = [sys.executable, "-I", "-S", __file__, str(os.getpid()), *arguments]
    return subprocess.Popen(launcher, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends and reaps a child: politely, then surely."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _become(parent: int, arguments: Sequence[str]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the request was made: then nobody would end this process.
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(arguments[0], list(arguments))


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
