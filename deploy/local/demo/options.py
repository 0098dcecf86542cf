"""What a demo was asked to do."""

from pathlib import Path

from msgspec import Struct

ONCE_RECORDS = 5_000
ONCE_RATE = 500.0
"""With broker, workers, feeder and readers on two cores; twice as much keeps them so busy that latency doubles."""
LIVE_RATE = 200.0


class LabelledFile(Struct, frozen=True):
    """The user's own data."""

    path: Path
    text_field: str
    label_field: str


class Options(Struct, frozen=True, kw_only=True):
    """The options of the command line."""

    once: bool = False
    """Stop when every record is answered."""
    bootstrap_servers: str | None = None
    """A broker that runs already."""
    workers: int = 2
    bundle: Path | None = None
    """Skips training and export."""
    data: LabelledFile | None = None
    """Trains on a part of it and streams the rest."""
    rounds: int | None = None
    """Of training; None for as many as the preset says."""
    given_records: int | None = None
    given_rate: float | None = None

    @property
    def records(self) -> int | None:
        """How many records to stream; None for no bound, or for all of the data's held-out part."""
        if self.given_records is None and self.once and self.data is None:
            return ONCE_RECORDS
        return self.given_records

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.given_rate or (ONCE_RATE if self.once else LIVE_RATE)
