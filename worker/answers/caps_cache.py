"""Remembers the caps that were found for a bundle on a machine, so that the next worker need not look for them.

One small file for each, in the cache directory and never in the bundle, which is signed and may be read-only. What
cannot be read, or was found elsewhere, is as good as not there: it is told in one line, and looked for again.
"""

import hashlib
import platform
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from worker.answers.batching import Caps
from worker.files import write_file

SCHEMA_VERSION = 2

log = structlog.get_logger("worker")


class Machine(NamedTuple):
    """What the cost of a batch depends on, beside the model."""

    processor: str
    lanes: int
    """Batches that are under way at once."""
    provider: str
    runtime: str
    """Version of ONNX Runtime."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    schema_version: int
    bundle: str
    machine: Machine
    caps: Caps


class CapsCache:
    """The entry of one bundle on one machine."""

    def __init__(self, directory: Path, bundle: str, machine: Machine) -> None:
        """
        Args:
            directory: where the entries are.
            bundle: version of the bundle, a digest of all of it.
            machine: this one.
        """
        self._bundle, self._machine = bundle, machine
        name = hashlib.sha256(msgspec.json.encode([bundle, machine])).hexdigest()
        self._path = directory / f"{name}.json"

    def load(self) -> Caps | None:
        """The caps that were found, if they were."""
        try:
            entry = msgspec.json.decode(self._path.read_bytes(), type=_Entry)
            self._check(entry)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ValueError) as error:
            log.warning("the remembered batch size is ignored", path=str(self._path), reason=str(error))
            return None
        return entry.caps

    def _check(self, entry: _Entry) -> None:
        """
        Raises:
            ValueError: it says nothing about this bundle on this machine.
        """
        if (entry.schema_version, entry.bundle, entry.machine) != (SCHEMA_VERSION, self._bundle, self._machine):
            raise ValueError("it was written for another bundle, machine or version")
        if min(entry.caps) < 1:
            raise ValueError("no batch is so small")

    def save(self, caps: Caps) -> None:
        """Keeps `caps`, if the directory can be written."""
        entry = _Entry(SCHEMA_VERSION, self._bundle, self._machine, caps)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._path, msgspec.json.encode(entry))
        except OSError as error:
            log.warning("the batch size is not remembered", path=str(self._path), reason=str(error))


def processor_name() -> str:
    """Model of the processor, as the kernel names it; else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
