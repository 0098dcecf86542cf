"""Every setting of the worker: one typed field each, read from the environment variable ``LIMELIGHT_<FIELD>``.

Options of the command line win over the environment, the environment wins over the defaults. A ``LIMELIGHT_`` name
that is not listed here is refused, because a misspelt setting would otherwise be ignored in silence.

The fields stand in groups, one file each: `brokers`, `stream`, `model`, `answers`, `pace` and `operation`.
"""

from worker.settings.masking import MASK, mask_credentials
from worker.settings.names import PREFIX, variable
from worker.settings.settings import Settings

__all__ = ["MASK", "PREFIX", "Settings", "mask_credentials", "variable"]
