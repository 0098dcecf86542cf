"""Which examples are kept from training, to judge the model by."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from federated.errors import DataError


class Holdout(NamedTuple):
    """Indices into the examples; the two lists are disjoint and cover all."""

    train: list[int]
    """In the order of the examples."""
    heldout: list[int]
    """Shuffled: a file that is sorted by label must not become a stream that is."""


def hold_out(labels: Sequence[str], *, fraction: float, seed: int) -> Holdout:
    """Chooses `fraction` of each label's examples, within one; a label's last example always stays in training.

    Args:
        labels: label of each example.
        fraction: above 0 and below 1.
        seed: same seed, same choice.

    Raises:
        DataError: nothing would be held out.
    """
    random = np.random.default_rng(seed)
    names = np.array(labels)
    chosen: list[int] = []
    owed = 0.0
    for label in sorted(set(labels)):
        members = random.permutation(np.flatnonzero(names == label))
        owed += fraction * len(members)
        count = min(round(owed), len(members) - 1)
        chosen.extend(members[:count].tolist())
        # What rounding left over goes to the next label, so that many small labels are held out too; what a label
        # could not give because it is too small does not.
        owed = min(owed - count, 0.5)
    if not chosen:
        raise DataError(
            f"a held-out fraction of {fraction} of {len(labels)} examples leaves nothing to judge by: "
            "a label's last example is needed for training. Give more examples of each label, or a larger fraction."
        )
    kept = set(chosen)
    return Holdout(
        train=[i for i in range(len(labels)) if i not in kept],
        heldout=[chosen[i] for i in random.permutation(len(chosen))],
    )
