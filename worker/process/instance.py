"""A stable name for this worker: what Kafka's static membership and transactional ids are keyed by.

A worker that restarts under the same name gets its partitions back without a rebalance, and its first act ends the
transaction that its predecessor left open. Two live workers must never share a name: the second would fence the first.
Without a configured name it is the host's name and the first slot number that no other worker of the group on this host
has locked; the lock goes with the process, however it ends.

Of several processes that a worker consists of, the first has the worker's name itself and the others append their
number, so that a worker that is started again with more or fewer of them keeps what it can.
"""

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import TextIO

from worker.errors import SettingsError

MAX_SLOTS = 1000


class Instance:
    """A worker's name; holds the slot's lock until `close`."""

    def __init__(self, group_id: str, instance_id: str | None, *, process: int = 0) -> None:
        """
        Args:
            group_id: consumer group; slots are counted within it.
            instance_id: the configured name, or None to take a slot.
            process: which one of the worker's processes this is.

        Raises:
            SettingsError: every slot of the group is taken.
        """
        self._lock: TextIO | None = None
        worker = instance_id or self._lock_slot(group_id)
        self.name = f"{worker}.{process}" if process else worker
        self.transactional_id = f"{group_id}.{worker}.{process}"

    def _lock_slot(self, group_id: str) -> str:
        directory = Path(tempfile.gettempdir()) / f"limelight-{os.getuid()}" / group_id
        for slot in range(MAX_SLOTS):
            try:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                file = (directory / f"slot-{slot}").open("w")
            except OSError as error:
                raise SettingsError(
                    f"no slot can be locked in {directory}: {error.strerror}. Set LIMELIGHT_INSTANCE_ID."
                ) from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            self._lock = file
            return f"{socket.gethostname()}-{slot}"
        raise SettingsError(
            f"all {MAX_SLOTS} slots of group {group_id!r} in {directory} are taken. Set LIMELIGHT_INSTANCE_ID."
        )

    def close(self) -> None:
        """Gives the slot back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
