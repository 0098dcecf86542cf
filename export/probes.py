"""Batches that would show a graph that reads padding.

A batch without padding proves nothing: the unmasked graph passes it. So every batch but the last mixes lengths, the
longest row next to the shortest. The last holds one row, because ONNX Runtime takes other code paths for it.
"""

from collections.abc import Sequence

import numpy as np

from worker.features import UNKNOWN_ID

BATCH_ROWS = 16
RANDOM_BATCHES = 6
REFERENCE_BATCHES = 4
SEED = 0

Rows = list[list[int]]
"""Unpadded token ids of each row of a batch."""


def build_probes(texts: Sequence[Sequence[int]], *, vocabulary_size: int, max_tokens: int) -> list[Rows]:
    """
    Args:
        texts: token ids of real texts, at least one.
        vocabulary_size: random rows hold ids below it, none of them padding.
        max_tokens: the longest row.

    Returns:
        Batches of rows; lengths 1 and `max_tokens` are among them.
    """
    generator = np.random.default_rng(SEED)
    lengths = np.linspace(1, max_tokens, RANDOM_BATCHES * BATCH_ROWS).round().astype(int)
    random = [generator.integers(UNKNOWN_ID, vocabulary_size, length).tolist() for length in lengths]
    by_length = sorted(texts, key=len)
    chosen = np.linspace(0, len(by_length) - 1, min(len(by_length), REFERENCE_BATCHES * BATCH_ROWS)).round().astype(int)
    real = [list(by_length[index]) for index in chosen]
    return [*_deal(random), *_deal(real), [real[-1]]]


def _deal(rows: Rows) -> list[Rows]:
    """Deals rows that are sorted by length like cards, so that every batch gets short ones and long ones."""
    batches = -(-len(rows) // BATCH_ROWS)
    return [rows[start::batches] for start in range(batches)]
