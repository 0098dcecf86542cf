"""Why there is no broker.

::

    LimelightError
    ├── KafkaUnavailableError   no source of a Kafka distribution works on this machine
    ├── SourceError             one source does not work; the next one is tried
    ├── JarChecksumError        a jar is not the one that was locked: nothing else is tried
    ├── CacheError              there is nowhere to keep the jars: nothing else is tried
    └── BrokerError             a node did not come up, or ended
        └── PortTakenError      *retriable* on other ports
"""

from worker.errors import LimelightError


class KafkaUnavailableError(LimelightError):
    """No source of a Kafka distribution works on this machine."""


class SourceError(LimelightError):
    """One source of a Kafka distribution does not work here."""


class JarChecksumError(LimelightError):
    """A jar differs from its locked digest. Running it would mean running code that nobody chose."""


class CacheError(LimelightError):
    """The directory for downloads is missing or cannot be used. Who set it, or did not, should hear of it first."""


class BrokerError(LimelightError):
    """A node did not come up, or ended."""


class PortTakenError(BrokerError):
    """Another process listens on a port that a node needs."""

    retriable = True
