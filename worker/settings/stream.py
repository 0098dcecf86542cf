"""What is read and written, and what is promised about it."""

from typing import Literal

from pydantic_settings import BaseSettings

from worker.settings.config import CONFIG
from worker.settings.values import Name, OptionalName


class StreamSettings(BaseSettings):
    """Topics, group and delivery."""

    model_config = CONFIG

    input_topic: Name = "limelight.events"
    """Topic with the records to score."""
    output_topic: Name = "limelight.predictions"
    """Topic for the answers."""
    dead_letter_topic: Name = "limelight.events.dlq"
    """Topic for records that cannot be scored, with the reason in their headers."""
    status_topic: OptionalName = "limelight.status"
    """Topic for the worker's own state, once a second; empty to publish none."""
    shadow_topic: OptionalName = "limelight.shadow"
    """Topic for the answers of a shadow version; empty to publish none. Only with a registry."""
    group_id: Name = "limelight"
    """Consumer group; workers of one group share the partitions of the input topic."""
    instance_id: Name | None = None
    """This worker's lasting name in its group, different for each. The default is the host name and a free slot."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """Whether answers and offsets are committed together. At least once writes the answers first, without transactions:
    readers need no read_committed and never wait for a dead worker's transaction; but a crash, a failed write or a
    worker that was suspended answers some records twice, and out of order."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins: a new one, or one whose offsets somebody deleted, or that had no
    member for longer than the brokers keep them (their offsets.retention.minutes, 7 days by default). Partitions that
    are added later begin at their first record."""
    offset_gap: Literal["stop", "skip"] = "stop"
    """What to do when records were deleted before they were read: stop loudly, or go on with the oldest left."""
