"""What length buckets save: the same records scored in the order of arrival and by length, with the same cap.

Lengths are long-tailed, as texts are: a logarithmic normal distribution, cut at `LONGEST`. Each slice is scored both
ways, by turns, by ONNX Runtime on one thread, from arrays that are ready; the ratio is taken within the pair. Both give
the same answers, which is checked on all of them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from harness.attention_lstm import VOCABULARY_SIZE, write_version
from numpy.typing import NDArray

from worker.answers.batching import Caps, plan_batches
from worker.bundle import load_bundle
from worker.features import pad
from worker.ports import Scores
from worker.scorer import OnnxScorer

LONGEST, MEDIAN, SIGMA = 128, 20, 0.8
SLICE_ROWS = 512
UNBOUNDED = 1 << 30
"""In cells: the cap that is compared is one of rows."""
BAR = 2.5
TOLERANCE = 1e-6


class Way(NamedTuple):
    """One way to cut a slice into batches, and what it took."""

    plan: Callable[[NDArray[np.int64]], Iterable[list[int]]]
    seconds: list[float]
    cells: list[int]


def main() -> int:
    """Returns the exit status: 1 if the bar is missed, or answers differ."""
    parser = argparse.ArgumentParser(description="Measure what length buckets save against the order of arrival.")
    parser.add_argument("--slices", type=int, default=40, help="of 512 records (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=32, help="most records in a batch (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scorer = OnnxScorer(load_bundle(write_version(Path(directory), 1)), threads=1)
        figures = compare(scorer, slices=arguments.slices, rows=arguments.rows)
    for name, value in figures.items():
        print(f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}")
    print(f"median ratio {figures['median_ratio']:.2f}, bar {BAR}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures["median_ratio"] >= BAR and figures["largest_difference"] <= TOLERANCE else 1


def compare(scorer: OnnxScorer, *, slices: int, rows: int) -> dict[str, float]:
    """Scores `slices` both ways.

    Returns:
        Records a second, padded cells for each token, the median of the ratios, and the largest difference.
    """
    chance = np.random.default_rng(7)
    ways = {
        "arrival": Way(lambda lengths: in_order(len(lengths), rows), [], []),
        "buckets": Way(lambda lengths: plan_batches(lengths, Caps(rows, UNBOUNDED)), [], []),
    }
    tokens, difference = 0, 0.0
    for number in range(-1, slices):
        lengths = draw_lengths(chance, SLICE_ROWS)
        texts = [chance.integers(2, VOCABULARY_SIZE, length).tolist() for length in lengths]
        answers = {}
        for name in sorted(ways, reverse=number % 2 == 1):
            seconds, cells, answers[name] = score(scorer, texts, list(ways[name].plan(lengths)))
            if number >= 0:  # the one before warms up
                ways[name].seconds.append(seconds)
                ways[name].cells.append(cells)
        tokens += int(lengths.sum()) if number >= 0 else 0
        difference = max(difference, largest_difference(*answers.values()))
    figures = {"records": float(slices * SLICE_ROWS), "tokens_per_record": tokens / (slices * SLICE_ROWS)}
    for name, way in ways.items():
        figures[f"{name}_records_per_second"] = SLICE_ROWS / statistics.median(way.seconds)
        figures[f"{name}_cells_per_token"] = sum(way.cells) / tokens
    pairs = zip(ways["arrival"].seconds, ways["buckets"].seconds, strict=True)
    ratios = [arrival / buckets for arrival, buckets in pairs]
    return figures | {"median_ratio": statistics.median(ratios), "largest_difference": difference}


def draw_lengths(chance: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Tokens of `count` texts."""
    return np.clip(np.rint(chance.lognormal(np.log(MEDIAN), SIGMA, count)), 1, LONGEST).astype(np.int64)


def in_order(count: int, rows: int) -> list[list[int]]:
    """Batches of neighbours."""
    return [list(range(start, min(start + rows, count))) for start in range(0, count, rows)]


def score(
    scorer: OnnxScorer, texts: list[list[int]], batches: list[list[int]]
) -> tuple[float, int, dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]]:
    """Seconds in the model, padded cells, and each row's probabilities and weights."""
    inputs = [pad([texts[row] for row in batch]) for batch in batches]
    begin = time.perf_counter()
    results: list[Scores] = [scorer.score(token_ids) for token_ids in inputs]
    seconds = time.perf_counter() - begin
    answers = {
        row: (result.probabilities[place], result.attention["tokens"][place, : len(texts[row])])
        for batch, result in zip(batches, results, strict=True)
        for place, row in enumerate(batch)
    }
    return seconds, sum(token_ids.size for token_ids in inputs), answers


def largest_difference(
    some: dict[int, tuple[NDArray[np.float32], ...]], others: dict[int, tuple[NDArray[np.float32], ...]]
) -> float:
    """Of any probability or weight of the same row."""
    return max(
        float(np.abs(mine - theirs).max())
        for row, answer in some.items()
        for mine, theirs in zip(answer, others[row], strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
