"""Which examples are kept from training, to judge the model by."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federated.errors import DataError


class Holdout(NamedTuple):
    """Indices into the examples; the two arrays are disjoint and cover all."""

    train: NDArray[np.int64]
    """In the order of the examples."""
    heldout: NDArray[np.int64]
    """Shuffled: a file that is sorted by label must not become a stream that is."""


def hold_out(labels: NDArray[np.generic], *, fraction: float, seed: int | Sequence[int]) -> Holdout:
    """Chooses `fraction` of each label's examples, within one; a label's last example always stays in training.

    Args:
        labels: label of each example, `[N]`, of any type that can be sorted.
        fraction: above 0 and below 1.
        seed: same seed, same choice.

    Raises:
        DataError: nothing would be held out.
    """
    random = np.random.default_rng(seed)
    names, codes = np.unique(labels, return_inverse=True)
    chosen = [np.empty(0, np.int64)]
    owed = 0.0
    for members in np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]):
        owed += fraction * len(members)
        count = min(round(owed), len(members) - 1)
        chosen.append(random.permutation(members)[: max(count, 0)])
        # What rounding left over goes to the next label, so that many small labels are held out too; what a label
        # could not give because it is too small does not.
        owed = min(owed - count, 0.5)
    heldout = np.concatenate(chosen)
    if not heldout.size:
        raise DataError(
            f"a held-out fraction of {fraction} of {len(labels)} examples leaves nothing to judge by: "
            "a label's last example is needed for training. Give more examples of each label, or a larger fraction."
        )
    kept = np.ones(len(labels), bool)
    kept[heldout] = False
    return Holdout(train=np.flatnonzero(kept), heldout=random.permutation(heldout))
