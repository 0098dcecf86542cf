"""Errors of the training side.

::

    LimelightError
    └── DataError    the examples cannot be used: a file, a row, a column or a label is at fault
"""

from worker.errors import LimelightError


class DataError(LimelightError):
    """The examples cannot be used as they are."""
