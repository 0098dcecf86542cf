"""Which tokens a model knows: the most frequent ones of the training clients."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.features import PAD, UNKNOWN

RESERVED = (PAD, UNKNOWN)
"""Ids 0 and 1."""


def rank_tokens(tokens: Sequence[str], counts: NDArray[np.int64], *, size: int, min_count: int) -> NDArray[np.int64]:
    """Indices of the tokens to know, the most frequent first, equal counts in the order of the tokens.

    Args:
        tokens: candidates.
        counts: how often each occurs in texts of training clients, `[len(tokens)]`.
        size: most ids to give, padding and unknown among them.
        min_count: rarer tokens are left out.
    """
    frequent = np.flatnonzero(counts >= min_count).tolist()
    ranked = sorted(frequent, key=lambda index: (-counts[index], tokens[index]))
    return np.array(ranked[: size - len(RESERVED)], np.int64)
