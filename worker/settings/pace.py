"""How much is done at once, and how long anything may take."""

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from worker.settings.config import CONFIG
from worker.settings.names import variable
from worker.settings.values import Seconds, SessionSeconds


class PaceSettings(BaseSettings):
    """Slices, batches and deadlines."""

    model_config = CONFIG

    slice_records: Annotated[int, Field(ge=1, le=100_000)] = 512
    """Records of a slice at most. A slow model scores slices one by one, a fast one up to four that wait together; a
    transaction takes every slice that is ready when it begins."""
    slice_bytes: Annotated[int, Field(ge=1, le=1 << 30)] = 1 << 20
    """Bytes of keys and values that close a slice. The record that reaches the limit still belongs to it."""
    slice_seconds: Annotated[float, Field(ge=0, le=60)] = 0.002
    """So long after its first record was read a slice is closed, unless scoring is busy with the one before."""
    batch_records: Annotated[int, Field(ge=1, le=4_096)] | None = None
    """Records that the model scores in one call at most. The default is found by measuring full slices of the stream,
    beginning with 32, and remembered in CACHE_DIR for the bundle and the machine. This or BATCH_CELLS ends that.
    A slice that is not full is cut into smaller parts."""
    batch_cells: Annotated[int, Field(ge=1)] | None = None
    """Tokens in one such call, padding included, unless one record has more. The default is 64 for each record."""

    transaction_timeout_seconds: Seconds = 10
    """After this long the broker aborts the transaction of a worker that died; until then readers wait."""
    delivery_deadline_seconds: Seconds = 8
    """After this long the worker gives an unanswered transaction up, aborts it and reads its slice again."""
    session_timeout_seconds: SessionSeconds = 15
    """After this long without a heartbeat the group gives the worker's partitions to others. It should exceed what the
    brokers need to replace one that died, 9 to 14 s by default, or each such death casts workers out. Less would gain
    little: whoever takes the partitions over must wait for the transaction of the dead worker. Brokers take no less
    than 6 s by default (their group.min.session.timeout.ms)."""
    drain_seconds: Seconds = 20
    """How long the worker may finish what it has read after SIGTERM. A second signal ends it at once."""
    leave_on_stop: bool = False
    """Whether SIGTERM means that this worker will not come back, as when fewer are wanted: its partitions go to others
    at once. Otherwise they wait for its restart, until the session times out. Ctrl-C always means it."""

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.delivery_deadline_seconds > self.transaction_timeout_seconds:
            raise ValueError(
                f"{variable('delivery_deadline_seconds')} may not exceed {variable('transaction_timeout_seconds')}: "
                "the broker would abort the transaction before the worker gives it up"
            )
        return self
