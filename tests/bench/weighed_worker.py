"""``python weighed_worker.py SHAPES run ...``: the worker, and what it weighs whenever its batches have a new shape.

It ends as if by SIGTERM when it has seen so many shapes, and prints the weights: a JSON array of megabytes, the last of
which is the most that the kernel has ever counted.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.__main__ import main
from worker.ports import Scores
from worker.reporting import resident_bytes
from worker.scorer import OnnxScorer

_score = OnnxScorer.score
_seen: set[tuple[int, ...]] = set()
_megabytes: list[float] = []


def weigh(scorer: OnnxScorer, token_ids: NDArray[np.int32]) -> Scores:
    """Scores as `OnnxScorer` does."""
    if token_ids.shape not in _seen:
        _seen.add(token_ids.shape)
        _megabytes.append(resident_bytes() / 1e6)
        if len(_seen) == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGTERM)
    return _score(scorer, token_ids)


def peak_megabytes() -> float:
    """Largest resident memory of this program; that of a parent, which `getrusage` would count, is left out."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    OnnxScorer.score = weigh  # type: ignore[method-assign]
    status = main(sys.argv[2:])
    print(json.dumps([*_megabytes, peak_megabytes()]))
    sys.exit(status)
