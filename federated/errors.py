"""Errors of the training side.

::

    LimelightError
    ├── DataError       the examples cannot be used: a file, a row, a column or a label is at fault
    ├── ConfigError     a preset, a key or a flag is unknown or out of range
    ├── OutputError     the model or its log cannot be written where it was asked for
    ├── PrivacyError    what was asked for cannot be promised, or the promise could not be kept
    │   └── BudgetError one more round would pass the budget; it was not started
    ├── AggregationError the clients' updates cannot be combined so
    │   └── AbortedRoundError too few of them arrived in this round; the next one may have enough
    ├── CheckpointError a run cannot be saved, or what was saved cannot be gone on with
    ├── DivergenceError the model's numbers ran over, mostly because a learning rate is too high
    └── EngineError     TensorFlow Federated's worker process did not start, or died
"""

from worker.errors import LimelightError


class DataError(LimelightError):
    """The examples cannot be used as they are."""


class ConfigError(LimelightError):
    """The run is not described correctly."""


class OutputError(LimelightError):
    """What the run leaves behind cannot be written there."""


class PrivacyError(LimelightError):
    """The privacy that was asked for cannot be promised, or cannot be kept."""


class BudgetError(PrivacyError):
    """The next round would spend more than the budget. It was not started."""


class AggregationError(LimelightError):
    """The clients' updates cannot be combined in this way."""


class AbortedRoundError(AggregationError):
    """Too few clients answered in this round. Nothing has changed, and the next round may have enough."""


class CheckpointError(LimelightError):
    """A run's state cannot be written, or what is there cannot be used."""


class DivergenceError(LimelightError):
    """Training left the range of numbers; a model from here on would be noise."""


class EngineError(LimelightError):
    """The process that executes the federated computations is at fault."""
