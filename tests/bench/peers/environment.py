"""A virtual environment for the peers, made when somebody needs it, and kept in the cache for the next time.

It is named after the lock that it was made of: another lock makes another one, and one that was interrupted does not
count.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("peers.lock")
INSTALL_SECONDS = 600


class PeersUnavailableError(Exception):
    """The environment cannot be made here; the message says why."""


def find_or_make() -> Path:
    """Python of the environment.

    Raises:
        PeersUnavailableError: it cannot be made, for example because no package index can be reached.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "limelight")
    place = cache / f"peers-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    complete = place / "complete"
    python = place / "bin" / "python"
    if not complete.exists():
        shutil.rmtree(place, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        _run("venv", "--quiet", "--python", sys.executable, str(place))
        locked = ["--require-hashes", "--no-deps", "--compile-bytecode", "-r", str(LOCK)]
        _run("pip", "install", "--quiet", "--python", str(python), *locked)
        complete.touch()
    return python


def _run(*arguments: str) -> None:
    # Not `python -m uv`: that would look for uv beside a Python that may be a link.
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv) if uv.exists() else "uv", *arguments]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except FileNotFoundError as error:
        raise PeersUnavailableError("uv is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise PeersUnavailableError(f"`uv {arguments[0]}` took more than {INSTALL_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())
        raise PeersUnavailableError(f"`uv {arguments[0]}` failed: {reason[:300]}") from error
