"""Golden records: events with the answers that the graph gave at export.

A worker repeats them when it loads the bundle. They come from single, unpadded rows, so that they hold whatever batch
a worker puts them into.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from export.assets import Reference
from worker.bundle import GoldenRecord
from worker.ports import Scorer

FILE = "golden.jsonl"
RECORDS = 16
DECIMALS = 7
"""What float32 holds below 1: rounding then moves no answer by more than 5e-8."""


def choose_varied(reference: Sequence[Reference], *, count: int = RECORDS) -> list[Reference]:
    """Up to `count` texts from the shortest to the longest, evenly by rank."""
    by_length = sorted(reference, key=lambda item: (len(item.ids), item.text))
    ranks = np.linspace(0, len(by_length) - 1, min(count, len(by_length))).round().astype(int)
    return [by_length[rank] for rank in ranks]


def build_golden_records(scorer: Scorer, reference: Sequence[Reference], *, field: str) -> list[GoldenRecord]:
    """
    Args:
        scorer: the converted graph.
        reference: held-out texts, at least one.
        field: name of the event's field that holds the text.
    """
    return [_answer(scorer, item, field) for item in choose_varied(reference)]


def encode_golden_records(records: Sequence[GoldenRecord]) -> bytes:
    """JSON Lines."""
    return msgspec.json.Encoder().encode_lines(records)


def _answer(scorer: Scorer, item: Reference, field: str) -> GoldenRecord:
    scores = scorer.score(np.array([item.ids], dtype=np.int32))
    return GoldenRecord(
        event={field: item.text},
        probabilities=_rounded(scores.probabilities[0]),
        attention={name: _rounded(weights[0]) for name, weights in scores.attention.items()},
    )


def _rounded(values: Any) -> list[float]:
    return [round(float(value), DECIMALS) for value in values]
