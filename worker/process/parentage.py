"""Dying with the process that started us, also when that dies of SIGKILL."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""See prctl(2). The signal comes when the *thread* that started us ends."""


def die_with_parent(parent_id: int | None = None) -> None:
    """Asks the kernel for SIGKILL when our parent ends.

    Args:
        parent_id: who it should be; if it has ended before we could ask, we end here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent_id is not None and os.getppid() != parent_id:
        os.kill(os.getpid(), signal.SIGKILL)
