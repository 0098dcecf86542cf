"""What was taken over last, on disk: a worker that starts while the registry cannot be reached begins with it."""

import hashlib
from pathlib import Path

import structlog

from worker import files
from worker.errors import RegistryError
from worker.models import deployment as deployments
from worker.models.deployment import Deployment

log = structlog.get_logger("worker")


def memory_of(directory: Path, address: str, name: str) -> Path:
    """File that keeps what was taken over last from the registry at `address`."""
    return directory / "deployments" / hashlib.sha256(address.encode()).hexdigest()[:16] / f"{name}.json"


def remember(file: Path, deployment: Deployment) -> None:
    """Writes it down; a disk that does not take it costs a line in the log."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_file(file, deployments.encode(deployment))
    except OSError as error:
        log.warning("a start without the registry will not be possible", file=str(file), reason=str(error))


def recall(file: Path) -> Deployment | None:
    """What was written down, None if it cannot be read."""
    try:
        return deployments.decode(file.read_bytes(), str(file))
    except (OSError, RegistryError):
        return None
