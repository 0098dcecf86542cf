"""Checks a loaded model against the answers that it gave when it was exported; that also warms it up."""

import time

import numpy as np
from numpy.typing import NDArray

from worker.bundle import Bundle
from worker.errors import BundleError
from worker.features import TextEncoder, pad
from worker.ports import Scorer

TOLERANCE = 1e-4
"""Golden answers are stored with 6 decimals, and CPUs differ in the last bits of a float32 sum."""

TRIES = 3
"""The best of so many counts: on a busy machine any single one may have had to wait."""


def check_golden_records(bundle: Bundle, scorer: Scorer) -> None:
    """Scores the bundle's golden records as one padded batch.

    Raises:
        BundleError: an answer differs from the one in the bundle.
    """
    field = bundle.manifest.fields[0]
    encoder = TextEncoder(bundle.vocabulary(field), max_tokens=field.max_tokens)
    golden = bundle.golden_records()
    rows = [encoder.encode(record.event[field.name]).ids for record in golden]
    scores = scorer.score(pad(rows))
    for index, (record, row) in enumerate(zip(golden, rows, strict=True)):
        found = [scores.probabilities[index], *(w[index, : len(row)] for w in scores.attention.values())]
        exported = [record.probabilities, *(record.attention[name] for name in scores.attention)]
        pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(found, exported, strict=True)]
        if not all(a.shape == b.shape and np.allclose(a, b, rtol=0, atol=TOLERANCE) for a, b in pairs):
            raise BundleError(
                f"{bundle.path}: the model's answer to golden record {index} differs from the exported one by more "
                f"than {TOLERANCE}. Export it again, or run it on the kind of CPU that it was exported on."
            )


def check_latency(bundle: Bundle, scorer: Scorer, *, limit_seconds: float) -> None:
    """Scores each golden record alone.

    Raises:
        BundleError: one of them takes longer than `limit_seconds`.
    """
    field = bundle.manifest.fields[0]
    encoder = TextEncoder(bundle.vocabulary(field), max_tokens=field.max_tokens)
    for index, record in enumerate(bundle.golden_records()):
        row = pad([encoder.encode(record.event[field.name]).ids])
        seconds = min(_time(scorer, row) for _ in range(TRIES))
        if seconds > limit_seconds:
            raise BundleError(
                f"{bundle.path}: the model takes {seconds:.3f} s for golden record {index}, and "
                f"LIMELIGHT_GOLDEN_LIMIT_SECONDS is {limit_seconds:g}. Raise it, or deploy a smaller model."
            )


def _time(scorer: Scorer, token_ids: NDArray[np.int32]) -> float:
    begin = time.perf_counter()
    scorer.score(token_ids)
    return time.perf_counter() - begin
