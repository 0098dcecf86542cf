"""Is the ONNX graph the model? Both run; the largest difference is recorded, and a bundle with a large one refused.

For each row: ONNX Runtime reads it inside a padded batch, TensorFlow alone and unpadded. Compared are the
probabilities and the attention of every kept token; attention must also be exactly 0 on padding and sum to 1.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.errors import ParityError
from export.probes import Rows
from worker.bundle import Parity
from worker.features import pad
from worker.ports import Scorer

TOLERANCE = 1e-5
"""Float32 kernels of two libraries differ by some 1e-7; a wrong mask or a reordered gate by 1e-3 and more."""


class Difference(NamedTuple):
    """How far one tensor of one row is off."""

    amount: float
    """Infinite if either side is not finite."""
    tensor: str
    place: str

    def __str__(self) -> str:
        return f"{self.tensor!r} differs by {self.amount:.1e} ({self.place})"


def check_parity(onnx: Scorer, reference: Scorer, probes: Sequence[Rows]) -> Parity:
    """
    Args:
        onnx: the converted graph.
        reference: the model in TensorFlow.
        probes: batches of unpadded rows, at least one.

    Raises:
        ParityError: a difference is above `TOLERANCE`, or attention is not a distribution over the kept tokens.
    """
    differences = [difference for rows in probes for difference in _compare(onnx, reference, rows)]
    worst = max(differences, key=lambda difference: difference.amount)
    if worst.amount > TOLERANCE:
        raise ParityError(
            f"ONNX Runtime and TensorFlow disagree: {worst}; {TOLERANCE:.0e} is allowed. Nothing was written. "
            "Check that signature 'unpadded' has the weights of 'serving_default' and differs only in the recurrent "
            "mask, or save the model without it: the export is then exact, but slow."
        )
    return Parity(max_abs_diff=worst.amount, probes=sum(map(len, probes)))


def _compare(onnx: Scorer, reference: Scorer, rows: Rows) -> Iterator[Difference]:
    """Compares each row of a padded batch with the same row alone."""
    expected = [reference.score(np.array([row], dtype=np.int32)) for row in rows]
    token_ids = pad(rows)
    scores = onnx.score(token_ids)
    for index, (row, alone) in enumerate(zip(rows, expected, strict=True)):
        place = f"row of {len(row)} tokens padded to {token_ids.shape[1]}"
        yield Difference(_largest(scores.probabilities[index] - alone.probabilities[0]), "probabilities", place)
        for name, weights in scores.attention.items():
            kept, padding = np.split(weights[index], [len(row)])
            _check_distribution(name, kept, padding, place)
            yield Difference(_largest(kept - alone.attention[name][0]), name, place)


def _check_distribution(name: str, kept: NDArray[np.float32], padding: NDArray[np.float32], place: str) -> None:
    if padding.any():
        raise ParityError(
            f"attention {name!r} looks at padding: weight {_largest(padding):.1e} ({place}). Nothing was written. "
            "Mask pad ids in the model's softmax, and make their weights exactly 0."
        )
    total = kept.sum(dtype=np.float64)
    if not abs(total - 1) <= TOLERANCE:
        raise ParityError(
            f"attention {name!r} sums to {total:.6f}, not to 1 ({place}). Nothing was written. "
            "Give out the weights right after the softmax."
        )


def _largest(values: NDArray[np.float32]) -> float:
    """Largest absolute value; infinite if any is not a number, so that no comparison lets it pass."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest if np.isfinite(largest) else np.inf
