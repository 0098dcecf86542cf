"""Where a Kafka comes from.

Tried in this order: jars that ``jgo`` downloads, jars that Maven downloads (both verified, and cached for good), the
``apache/kafka`` image. An address that the user gives comes before all of them, and then nobody asks here.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from deploy.local.kafka.distribution import Distribution, JarDistribution
from deploy.local.kafka.docker import IMAGE, find_image
from deploy.local.kafka.download import download_with_jgo, download_with_maven
from deploy.local.kafka.errors import KafkaUnavailableError, SourceError
from deploy.local.kafka.jars import KAFKA_VERSION, Download, cached_jars, read_lock
from deploy.local.kafka.java import MINIMUM_VERSION, find_java


class Source(NamedTuple):
    """A place to look for a distribution."""

    name: str
    obtain: Callable[[], Distribution]
    """Raises `SourceError` if there is none."""


def _jars(download: Download) -> Distribution:
    return JarDistribution(find_java(), cached_jars(download, read_lock()))


SOURCES = (
    Source("jgo", lambda: _jars(download_with_jgo)),
    Source("Maven", lambda: _jars(download_with_maven)),
    Source("Docker", find_image),
)


def find_distribution(sources: Sequence[Source] = SOURCES) -> Distribution:
    """The first distribution that works.

    Raises:
        KafkaUnavailableError: none does; the message says how each failed.
        JarChecksumError: a downloaded or cached jar is not the locked one.
        CacheError: there is nowhere to keep the jars.
    """
    failures = []
    for source in sources:
        try:
            return source.obtain()
        except SourceError as error:
            failures.append(f"{source.name}: {error}")
    raise KafkaUnavailableError(
        f"no Apache Kafka {KAFKA_VERSION} could be had. Tried {'; '.join(failures)}. Any of these helps: "
        "--bootstrap-servers with the address of a broker that runs already; access to a Maven repository (a mirror "
        f"goes into Maven's settings.xml) and Java {MINIMUM_VERSION} or newer; a Docker engine that has, or can pull, "
        f"{IMAGE}."
    )
