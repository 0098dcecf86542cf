"""What the model saw and said at export, over the reference texts. Drift is measured on it.

=================  =================================================  ==================
histogram          value                                              bins
=================  =================================================  ==================
``score``          probability of the predicted label                 20 from 0 to 1
``label``          index of the predicted label                       one for each label
``tokens``         tokens that the model reads, after cutting         20 or fewer, whole numbers
``unknown_share``  share of those tokens that are not in the          20 from 0 to 1
                   vocabulary
=================  =================================================  ==================
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.bundle import Histogram
from worker.features import UNKNOWN_ID, pad
from worker.ports import Scorer

BINS = 20
BATCH_ROWS = 32


def build_histograms(
    scorer: Scorer, texts: Sequence[Sequence[int]], *, classes: int, max_tokens: int
) -> dict[str, Histogram]:
    """
    Args:
        scorer: the converted graph.
        texts: token ids of the reference texts, at least one.
        classes: how many labels there are.
        max_tokens: where longer texts were cut.
    """
    probabilities = np.concatenate(list(_score(scorer, sorted(texts, key=len))))
    shares = np.linspace(0, 1, BINS + 1).round(2)
    # Edges between whole numbers: an edge inside a bin of lengths would make some bins wider than others.
    lengths = np.unique(np.linspace(1, max_tokens + 1, BINS + 1).round())
    return {
        "score": _count(probabilities.max(axis=1), shares),
        "label": _count(probabilities.argmax(axis=1), np.arange(classes + 1)),
        "tokens": _count([len(ids) for ids in texts], lengths),
        "unknown_share": _count([ids.count(UNKNOWN_ID) / len(ids) for ids in texts], shares),
    }


def _score(scorer: Scorer, texts: Sequence[Sequence[int]]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(texts), BATCH_ROWS):
        yield scorer.score(pad(texts[start : start + BATCH_ROWS])).probabilities


def _count(values: Any, edges: NDArray[Any]) -> Histogram:
    # A softmax in float32 can come out as 1 + 1e-7, which would fall out of the last bin.
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    return Histogram(edges=[float(edge) for edge in edges], counts=[int(count) for count in counts])
