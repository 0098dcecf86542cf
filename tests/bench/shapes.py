"""Memory of a worker whose batches never have the same shape twice.

ONNX Runtime may keep buffers for each shape that it has seen, and allocators keep what was largest. A process with all
of the worker's modules answers texts until a thousand shapes were scored; its resident memory is read on the way.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

import worker.app  # noqa: F401 - all that a worker has in memory
from worker.answers.tuning import DEFAULT
from worker.building import build_model
from worker.bundle import load_bundle
from worker.ports import Record, Scores
from worker.reporting import resident_bytes
from worker.scorer import OnnxScorer
from worker.settings import Settings

SHAPES = 1_000
SETTLED_SHAPES = 200
"""From here on it should be flat."""
BAR_MEGABYTES, GROWTH_MEGABYTES = 130.0, 10.0
LONGEST, MOST_ROWS = 64, DEFAULT.rows


def main() -> int:
    """Returns the exit status: 1 if the worker is too large, or grows."""
    parser = argparse.ArgumentParser(description="Measure a worker's memory over a thousand shapes.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bundle:  # the child: nothing of what builds the model may be in its memory
        print(json.dumps(measure(arguments.bundle)))
        return 0
    from harness.attention_lstm import write_version

    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, "--bundle", str(write_version(Path(directory), 1))]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures["peak_megabytes"] <= BAR_MEGABYTES and figures["growth_megabytes"] <= GROWTH_MEGABYTES else 1


class Shapes:
    """Lets a scorer through and remembers the shapes of its batches."""

    def __init__(self, scorer: OnnxScorer) -> None:
        self._scorer = scorer
        self.seen: set[tuple[int, ...]] = set()

    def score(self, token_ids: NDArray[np.int32]) -> Scores:
        """Implements `worker.ports.Scorer`."""
        self.seen.add(token_ids.shape)
        return self._scorer.score(token_ids)


def measure(bundle: Path) -> dict[str, float]:
    """Answers slices of all sizes until `SHAPES` were scored."""
    chance = np.random.default_rng(7)
    model = build_model(Settings(batch_records=MOST_ROWS), lambda _: nullcontext(), load_bundle(bundle))
    shapes = model.answerer._scorer = Shapes(model.answerer._scorer)
    megabytes = {0: resident_bytes() / 1e6}
    answered = 0
    while len(shapes.seen) < SHAPES:
        size, length = int(chance.integers(1, MOST_ROWS + 1)), int(chance.integers(1, LONGEST + 1))
        texts = [" ".join(f"word{number}" for number in chance.integers(0, 9000, length)) for _ in range(size)]
        values = [msgspec.json.encode({"text": text}) for text in texts]
        model.answerer.answer([Record("events", 0, offset, 0, None, value, []) for offset, value in enumerate(values)])
        megabytes[len(shapes.seen)] = resident_bytes() / 1e6
        answered += size
    settled = [value for count, value in megabytes.items() if count >= SETTLED_SHAPES]
    return {
        "shapes": len(shapes.seen),
        "records": answered,
        "loaded_megabytes": round(megabytes[0], 1),
        "peak_megabytes": round(max(megabytes.values()), 1),
        "growth_megabytes": round(settled[-1] - settled[0], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
