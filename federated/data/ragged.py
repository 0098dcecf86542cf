"""Rows of different lengths that lie end to end in one array."""

import numpy as np
from numpy.typing import NDArray


def flat_positions(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of all elements of the rows, row after row.

    Args:
        starts: position of each row's first element, `[N]`.
        lengths: elements of each row, `[N]`.
    """
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
