"""Why there is no broker.

::

    LimelightError
    ├── KafkaUnavailableError   no source of a Kafka distribution works on this machine
    ├── SourceError             one source does not work; the next one is tried
    ├── JarChecksumError        a jar is not the one that was locked: nothing else is tried
    └── BrokerStartError        a node did not come up
        └── PortTakenError      *retriable* on other ports
"""

from worker.errors import LimelightError


class KafkaUnavailableError(LimelightError):
    """No source of a Kafka distribution works on this machine."""


class SourceError(LimelightError):
    """One source of a Kafka distribution does not work here."""


class JarChecksumError(LimelightError):
    """A jar differs from its locked digest. Running it would mean running code that nobody chose."""


class BrokerStartError(LimelightError):
    """A node did not come up."""


class PortTakenError(BrokerStartError):
    """Another process listens on the port."""

    retriable = True
