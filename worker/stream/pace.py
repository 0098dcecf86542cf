"""How many of the slices that wait are scored together.

Among more records there are more of one length, and micro-batches are fuller: 1.19 times as many records a second
(median of eight pairs; librdkafka, exactly once). With a slow model each slice goes on by itself, so that what was
scored first does not wait long to be committed.
"""

SCORING_SECONDS = 0.1
"""So much is scored together as the model lately answered in this time."""
MOST_TOGETHER = 4
"""With more, what is under way (`worker.stream.pipeline.SLICES_AHEAD`) would not keep both other stages busy."""


class Pace:
    """Learns from every turn of scoring. Used by the thread that scores."""

    def __init__(self, *, slice_records: int) -> None:
        """
        Args:
            slice_records: most records of one slice.
        """
        self._slice_records = slice_records
        self.together = 1
        """Slices to score at once."""

    def learn(self, records: int, seconds: float) -> None:
        """`records` were scored in `seconds`."""
        slices = records / self._slice_records
        in_time = (
            MOST_TOGETHER if seconds * MOST_TOGETHER <= SCORING_SECONDS * slices else SCORING_SECONDS * slices / seconds
        )
        self.together = max(1, int(in_time))
