"""Where a Kafka comes from, and the command lines that run it.

Sources, in the order in which they are tried: jars that ``jgo`` downloads, jars that Maven downloads (both verified,
both cached once for all), the ``apache/kafka`` image. An address that the user gives comes before all of them, and
then this module is not asked.
"""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from deploy.local.kafka.download import download_with_jgo, download_with_maven
from deploy.local.kafka.errors import KafkaUnavailableError, SourceError
from deploy.local.kafka.jars import KAFKA_VERSION, Download, cached_jars, read_lock
from deploy.local.kafka.java import MINIMUM_VERSION, find_java

# A broker that lives for minutes gains nothing from the optimising compiler, and half a gigabyte is plenty for it.
JVM_OPTIONS = ("-Xmx512m", "-XX:TieredStopAtLevel=1")
DOCKER_IMAGE = f"apache/kafka:{KAFKA_VERSION}"


class Distribution(Protocol):
    """A Kafka that can be run on this machine."""

    name: str

    def format_command(self, configuration: Path, cluster_id: str) -> list[str]:
        """Command line that formats the data directory of a node."""
        ...

    def run_command(self, configuration: Path, log4j: Path) -> list[str]:
        """Command line that runs a node until it gets SIGTERM."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that both commands need."""
        ...


class JarDistribution(NamedTuple):
    """Jars on a Java."""

    java: Path
    jars: Sequence[Path]
    name: str = "jars"

    def format_command(self, configuration: Path, cluster_id: str) -> list[str]:
        """See `Distribution`."""
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(configuration)]
        return [str(self.java), *JVM_OPTIONS, *tool]

    def run_command(self, configuration: Path, log4j: Path) -> list[str]:
        """See `Distribution`."""
        logging = f"-Dlog4j2.configurationFile={log4j}"
        return [str(self.java), *JVM_OPTIONS, logging, "kafka.Kafka", str(configuration)]

    @property
    def environment(self) -> Mapping[str, str]:
        """The class path, here because it would make the command line of the process unreadable."""
        return {"CLASSPATH": os.pathsep.join(map(str, self.jars))}


class Source(NamedTuple):
    """A place to look for a distribution."""

    name: str
    obtain: Callable[[], Distribution]
    """Raises `SourceError` if there is none."""


def find_distribution(sources: Sequence[Source] | None = None) -> Distribution:
    """The first distribution that works.

    Raises:
        KafkaUnavailableError: none does.
        JarChecksumError: a downloaded or cached jar is not the locked one.
    """
    failures = []
    for source in SOURCES if sources is None else sources:
        try:
            return source.obtain()
        except SourceError as error:
            failures.append(f"{source.name}: {error}")
    raise KafkaUnavailableError(
        f"no Apache Kafka {KAFKA_VERSION} could be had. Tried " + "; ".join(failures) + ". Any of these helps: "
        "--bootstrap-servers with the address of a broker that runs already; access to a Maven repository (a mirror "
        f"goes into Maven's settings.xml) with Java {MINIMUM_VERSION} or newer; a Docker engine that has or can pull "
        f"{DOCKER_IMAGE}."
    )


def _jars(download: Download) -> Distribution:
    java = find_java()
    return JarDistribution(java, cached_jars(download, read_lock()))


SOURCES = (
    Source("jgo", lambda: _jars(download_with_jgo)),
    Source("Maven", lambda: _jars(download_with_maven)),
)
