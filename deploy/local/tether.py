"""Runs a program that dies with its parent, even when the parent is killed with SIGKILL.

Called as a script: ``tether.py PARENT_PID PROGRAM ARGUMENT...``. It replaces itself by the program, so the process id
stays. A launcher instead of ``preexec_fn``, because that runs Python between fork and exec, where a lock that another
thread held at the fork is never released.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> int:
    """Returns only if the program cannot be started."""
    # The kernel sends the signal when the *thread* that forked us ends: see `deploy.local.processes`.
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        print("error: the kernel refused PR_SET_PDEATHSIG", file=sys.stderr)
        return 1
    # The parent may have died before the line above took effect.
    if os.getppid() != parent_pid:
        return 1
    # Python ignores these two from its start; ignored signals stay ignored over exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is what we want
    except OSError as error:
        print(f"error: cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
