"""What tests of child processes need to look at."""

import ipaddress
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local.kafka import docker
from deploy.local.kafka.errors import SourceError

PULL_SECONDS = 120
"""Pulled layers are kept, so a slow connection gets there in a few sessions."""
LISTEN = "0A"
"""The state of a socket in ``/proc/net/tcp``."""


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    """Says whether a process runs; a zombie does not."""

    def alive(pid: int) -> bool:
        try:
            return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False

    return alive


@pytest.fixture
def listening_addresses() -> Callable[[int], set[str]]:
    """Says on which addresses a process listens."""

    def find(pid: int) -> set[str]:
        sockets = set()
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                sockets.add(str(file.readlink()))
        tables = (Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
        rows = [line.split() for table in tables for line in table]
        own = [row for row in rows if row[3] == LISTEN and f"socket:[{row[9]}]" in sockets]
        return {_parse_address(row[1].partition(":")[0]) for row in own}

    return find


@pytest.fixture(scope="session")
def image() -> docker.DockerDistribution:
    """Kafka from the image; skips the test where there is no Docker engine, or no image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docker, "PULL_TIMEOUT_SECONDS", PULL_SECONDS)
        try:
            return docker.find_image()
        except SourceError as error:
            pytest.skip(f"no broker in a container: {error}")


def _parse_address(kernel: str) -> str:
    """Reads an address as the kernel writes it, in hexadecimal words of its own byte order."""
    words = [int(kernel[start : start + 8], 16) for start in range(0, len(kernel), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    return str(getattr(address, "ipv4_mapped", None) or address)
