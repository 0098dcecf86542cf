"""What a cluster says about the worker's topics."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Absence(Enum):
    """Why nothing is known about a topic."""

    MISSING = "missing"
    HIDDEN = "hidden"
    """The user may not describe it: it may exist or not."""


class Access(Enum):
    """Whether the user may do something."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "unknown"
    """The cluster does not let the user find out, or no rule speaks of it."""


class TopicFacts(NamedTuple):
    """A topic that exists."""

    partitions: int
    replication_factor: int
    """Of the partition that has the fewest replicas."""
    in_sync_replicas: int
    """Of the partition that has the fewest."""
    leaderless: int
    """Partitions that nobody can read or write now."""
    configs: Mapping[str, str] | None
    """Effective topic properties; None if the user may not see them."""
    operations: frozenset[str] | None
    """What the user may do, in Kafka's words (``READ``, ``WRITE``, ...); None if the broker is too old to tell."""


class ClusterFacts(NamedTuple):
    """A cluster and the topics of one worker."""

    brokers: int
    topics: Mapping[str, TopicFacts | Absence]


class Identities(NamedTuple):
    """What the user may be, to the cluster."""

    principal: str
    """How the brokers call the user, unless they map names in a way of their own."""
    group: Access
    """A reading member of the worker's group."""
    transactions: Access
    """A writer under the worker's transactional id."""
